//! `gharvest deletions`: what becomes of items that GitHub no longer shows.

use anyhow::bail;
use clap::Args;
use gharvest_downloader::deletions;
use gharvest_model::{RepositoryName, removal::DeletionPolicy};
use gharvest_service_kit::process::{CommonArgs, Exit};
use serde_json::json;

use crate::output::{self, bytes, line, say};

const EXAMPLES: &str = "\
Examples:
  gharvest deletions rust-lang/log                          the policy, and what it took out so far
  gharvest deletions rust-lang/log --policy redact --yes    from now on, and for what is gone already

keep    everything stays in the archive; search leaves the item out
redact  titles, bodies, comments and their older texts go; who did what when stays
purge   everything goes but the number, what became of it, and when";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DeletionsArgs {
    /// The repository
    #[arg(value_name = "OWNER/NAME")]
    repository: RepositoryName,
    /// What becomes of deleted, hidden and transferred items: keep, redact or purge
    #[arg(long)]
    policy: Option<DeletionPolicy>,
    /// Take out what cannot be brought back
    #[arg(long, requires = "policy")]
    yes: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(common: &CommonArgs, args: DeletionsArgs) -> anyhow::Result<Exit> {
    let settings = common.load()?.settings;
    let archive = gharvest_backends::existing_archive(&settings).await?;
    let name = &args.repository;
    let Some(id) = archive.resolve(name).await? else { bail!("{name} is not mirrored here") };
    if let Some(policy) = args.policy {
        if !policy.is_keep() && !args.yes {
            bail!("{policy} takes content out of the archive for good: say --yes to have it so");
        }
        let queue = gharvest_backends::queue(&settings).await?;
        let Some(changed) = deletions::set_policy(&archive, queue.as_ref(), id, policy).await? else {
            bail!("{name} is not tracked: nothing of it is followed, so no policy can be");
        };
        say(format_args!("{name}: {policy} from now on; {changed} records of items that are gone changed"));
    }
    let policy = archive.deletion_policy(id).await?;
    let receipts = archive.receipts(id).await?;
    if args.json {
        output::json(&json!({ "policy": policy, "receipts": receipts }))?;
        return Ok(Exit::Done);
    }
    line(format_args!("{policy}"));
    for receipt in receipts {
        line(format_args!(
            "#{}\t{}\t{}\t{} texts, {}",
            receipt.number,
            receipt.removed_at,
            receipt.policy,
            receipt.texts,
            bytes(receipt.bytes)
        ));
    }
    Ok(Exit::Done)
}
