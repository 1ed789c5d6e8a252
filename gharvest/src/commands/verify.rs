//! `gharvest verify`: every document of the index against its record.

use clap::Args;
use gharvest_archive::Archive;
use gharvest_github::{Answer, Client, Purpose, Resource};
use gharvest_indexer::verify::{Step, verify};
use gharvest_model::{ItemId, RepositoryId, RepositoryName, ledger::NumberState};
use gharvest_service_kit::process::{CommonArgs, Exit};
use serde_json::{Value, json};

use crate::{
    output::{grouped, json as print_json, line, say},
    progress::Progress,
};

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Only these repositories
    #[arg(value_name = "OWNER/NAME")]
    repositories: Vec<RepositoryName>,
    /// Also ask GitHub about a sample of items
    #[arg(long)]
    against_github: bool,
    /// How many items of each repository to ask about
    #[arg(long, default_value_t = 20, requires = "against_github")]
    sample: usize,
    /// Differences as JSON, one line each
    #[arg(long)]
    json: bool,
}

/// Exits with 3 when something differs.
pub(crate) async fn run(common: &CommonArgs, args: VerifyArgs) -> anyhow::Result<Exit> {
    let settings = common.load()?.settings;
    let archive = gharvest_backends::existing_archive(&settings).await?;
    let index = gharvest_backends::index_read_only(&settings).await?;
    let ids = chosen(&archive, &args.repositories).await?;
    let mut progress = Progress::new("items");
    let mut total = 0;
    for id in &ids {
        total += archive.ledger(*id).await?.counts()[NumberState::Present as usize];
    }
    let mut tell = |step: Step<'_>| match step {
        Step::Found(difference) if args.json => drop(print_json(difference)),
        Step::Found(difference) => line(format_args!("{}: {}", difference.name, json!(difference.kind))),
        Step::Compared(compared) => progress.set(compared.items, total.max(compared.items), ""),
    };
    let compared = verify(&archive, index.as_ref(), &ids, &mut tell).await?;
    progress.finish();
    say(format_args!(
        "{} items and {} documents compared, {} items differ",
        grouped(compared.items),
        grouped(compared.documents),
        grouped(compared.differences)
    ));
    let mut differs = compared.differences > 0;
    if args.against_github {
        let client = gharvest_backends::github(&settings, None)?;
        for id in ids {
            differs |= against_github(&archive, &client, id, args.sample, args.json).await?;
        }
    }
    Ok(if differs { Exit::Differs } else { Exit::Done })
}

async fn chosen(archive: &Archive, names: &[RepositoryName]) -> anyhow::Result<Vec<RepositoryId>> {
    if names.is_empty() {
        return Ok(archive.repositories().await?);
    }
    let mut ids = Vec::with_capacity(names.len());
    for name in names {
        let id = archive.resolve(name).await?;
        ids.push(id.ok_or_else(|| anyhow::anyhow!("{name} is not mirrored here"))?);
    }
    Ok(ids)
}

/// Compares a random sample of records with what GitHub shows now. Says whether something differs.
async fn against_github(
    archive: &Archive,
    client: &Client,
    id: RepositoryId,
    sample: usize,
    as_json: bool,
) -> anyhow::Result<bool> {
    let Some(repository) = archive.repository(id).await? else { return Ok(false) };
    let mut numbers: Vec<u64> = archive.ledger(id).await?.numbers(NumberState::Present).collect();
    fastrand::shuffle(&mut numbers);
    numbers.truncate(sample);
    let mut differences = 0;
    for number in &numbers {
        let resource = Resource::Issue(repository.full_name.clone(), *number);
        let answer = client.get(&resource, None, Purpose::Live).await?;
        let archived = archive.record(ItemId { repository: id, number: *number }).await?;
        let archived = archived.and_then(|record| record.core().cloned()).unwrap_or(Value::Null);
        let Some(found) = difference(&answer, &archived) else { continue };
        differences += 1;
        let name = format!("{}#{number}", repository.full_name);
        if as_json {
            print_json(&json!({ "name": name, "github": found }))?
        } else {
            line(format_args!("{name}: {found}"))
        }
    }
    say(format_args!("{}: {} items asked of GitHub, {differences} differ", repository.full_name, numbers.len()));
    Ok(differences > 0)
}

/// What GitHub says differently of an item; none if it agrees.
fn difference(answer: &Answer, archived: &Value) -> Option<String> {
    let Answer::Found(found) = answer else { return Some(format!("GitHub answers {answer:?}")) };
    let fields = ["title", "body", "state", "state_reason", "comments", "locked", "updated_at"];
    let differing: Vec<_> = fields.into_iter().filter(|field| found.body.get(field) != archived.get(field)).collect();
    (!differing.is_empty()).then(|| format!("differs in {}", differing.join(", ")))
}
