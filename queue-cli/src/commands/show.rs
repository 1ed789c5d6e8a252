//! `show`: where is this item?

use clap::Args;
use gharvest_model::ItemRef;
use gharvest_queue_requests::{ItemParams, JobAnswer, WhereAnswer};

use crate::{
    hand::Hand,
    output::{json, line, safe},
};

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// OWNER/NAME#NUMBER or a GitHub URL
    item: ItemRef,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn show(hand: &Hand, args: &ShowArgs) -> anyhow::Result<()> {
    let answer = hand.ask(&ItemParams { item: args.item.to_string() }).await?;
    if args.json {
        return json(&answer);
    }
    line(format_args!("{} ({})", answer.item, answer.subject));
    line(format_args!("download queue  {}", job(answer.download.as_ref())));
    line(format_args!("index queue     {}", job(answer.index.as_ref())));
    let verified = answer.ledger.verified_at.map_or_else(|| "never verified".to_owned(), |at| format!("verified {at}"));
    line(format_args!("ledger          {:?}, {verified}", answer.ledger.state));
    match &answer.record {
        Some(record) => line(format_args!(
            "record          revision {}, {:?}, fetched {}",
            record.revision, record.state, record.fetched_at
        )),
        None => line("record          none"),
    }
    line(format_args!("search index    {}", indexed(&answer)));
    Ok(())
}

fn indexed(answer: &WhereAnswer) -> String {
    let stored = answer.record.as_ref().map(|record| record.revision);
    match (&answer.index_trouble, answer.indexed) {
        (Some(trouble), _) => format!("not asked: {}", safe(trouble)),
        (None, None) => "not there".to_owned(),
        (None, Some(revision)) if Some(revision) == stored => format!("revision {revision}, as stored"),
        (None, Some(revision)) => format!("revision {revision}, not the one that is stored"),
    }
}

fn job(job: Option<&JobAnswer>) -> String {
    let Some(job) = job else { return "no job".to_owned() };
    let at = job.at.map(|at| format!(" {at}")).unwrap_or_default();
    let dirty = if job.dirty { ", runs once more afterwards" } else { "" };
    let reason = job.reason.as_deref().map(|reason| format!("; last failure: {}", safe(reason))).unwrap_or_default();
    format!("{:?}{at} in lane {}, {} attempts{dirty}{reason}", job.state, job.lane, job.attempts)
}
