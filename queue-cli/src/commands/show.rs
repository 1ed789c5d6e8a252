//! `show`: where is this item?

use clap::Args;
use gharvest_model::{ItemRef, QueueName, Subject};
use gharvest_queue::JobView;
use serde_json::json;

use crate::{
    Target,
    output::{json, line, safe},
    subject::repository,
};

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// OWNER/NAME#NUMBER or a GitHub URL
    item: ItemRef,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn show(target: &Target, args: &ShowArgs) -> anyhow::Result<()> {
    let id = repository(&target.archive, &args.item.repository).await?;
    let subject = Subject::item(id, args.item.number);
    let download = target.queue.job(QueueName::Download, &subject).await?;
    let index = target.queue.job(QueueName::Index, &subject).await?;
    let ledger = target.archive.ledger(id).await?.get(args.item.number);
    let record = target.archive.record(gharvest_model::ItemId { repository: id, number: args.item.number }).await?;
    if args.json {
        return json(&json!({
            "item": args.item.to_string(), "subject": subject, "download": download, "index": index,
            "ledger": { "state": ledger.state, "verified_at": ledger.verified_at },
            "record": record.as_ref().map(|record| json!({ "revision": record.revision, "state": record.state,
                "fetched_at": record.fetched_at, "changed_at": record.changed_at, "origin": record.origin })),
        }));
    }
    line(format_args!("{} ({subject})", args.item));
    line(format_args!("download queue  {}", job(download.as_ref())));
    line(format_args!("index queue     {}", job(index.as_ref())));
    let verified = ledger.verified_at.map_or_else(|| "never verified".to_owned(), |at| format!("verified {at}"));
    line(format_args!("ledger          {:?}, {verified}", ledger.state));
    match record {
        Some(record) => line(format_args!(
            "record          revision {}, {:?}, fetched {}",
            record.revision, record.state, record.fetched_at
        )),
        None => line("record          none"),
    }
    Ok(())
}

fn job(job: Option<&JobView>) -> String {
    let Some(job) = job else { return "no job".to_owned() };
    let at = job.at.map(|at| format!(" {at}")).unwrap_or_default();
    let dirty = if job.dirty { ", runs once more afterwards" } else { "" };
    let reason = job.reason.as_deref().map(|reason| format!("; last failure: {}", safe(reason))).unwrap_or_default();
    format!("{:?}{at} in lane {}, {} attempts{dirty}{reason}", job.state, job.lane, job.attempts)
}
