//! `gharvest show OWNER/NAME#NUMBER`: a thread in the terminal.

use anyhow::bail;
use clap::Args;
use gharvest_archive::Archive;
use gharvest_model::{ItemId, ItemRef, Kind, Record, record::RecordState};
use gharvest_service_kit::process::{CommonArgs, Exit};
use serde_json::Value;

use crate::output::{BOLD, DIM, GREEN, PURPLE, RED, line, safe};

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The item: OWNER/NAME#NUMBER or a GitHub URL
    item: ItemRef,
    /// The record as it is archived
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(common: &CommonArgs, args: ShowArgs) -> anyhow::Result<Exit> {
    let settings = common.load()?.settings;
    let archive = gharvest_backends::existing_archive(&settings).await?;
    let id = find(&archive, &args.item).await?;
    if args.json {
        let Some(bytes) = archive.record_bytes(id).await? else { bail!("{} is not in the archive", args.item) };
        line(String::from_utf8_lossy(&bytes));
        return Ok(Exit::Done);
    }
    let Some(record) = archive.record(id).await? else {
        bail!("{} is not in the archive: `gharvest track {}` mirrors its repository", args.item, args.item.repository)
    };
    print(&record.shown());
    Ok(Exit::Done)
}

async fn find(archive: &Archive, item: &ItemRef) -> anyhow::Result<ItemId> {
    match archive.resolve(&item.repository).await? {
        Some(repository) => Ok(ItemId { repository, number: item.number }),
        None => bail!("{} is not mirrored: `gharvest track {}` does that", item.repository, item.repository),
    }
}

fn print(record: &Record) {
    let core = record.core().unwrap_or(&Value::Null);
    let kind = match record.kind {
        Kind::Issue => "issue",
        Kind::PullRequest => "pull request",
    };
    line(format_args!(
        "{BOLD}{}{BOLD:#} {DIM}{}#{}{DIM:#}",
        safe(text(core, "title")),
        record.repository.full_name,
        record.number
    ));
    line(format_args!("{} {kind} by {} · {}", state(record, core), login(core, "user"), text(core, "created_at")));
    let labels: Vec<_> =
        core["labels"].as_array().into_iter().flatten().filter_map(|label| label["name"].as_str()).collect();
    if !labels.is_empty() {
        line(format_args!("labels: {}", safe(&labels.join(", "))));
    }
    line("");
    line(safe(text(core, "body")));
    for event in &record.timeline {
        print_event(event);
    }
    for comment in &record.review_comments {
        let place = format!("{} on {}", login(comment, "user"), safe(text(comment, "path")));
        print_said(&place, text(comment, "created_at"), text(comment, "body"));
    }
    line(format_args!("\n{DIM}revision {} · fetched {}{DIM:#}", record.revision, record.fetched_at));
}

fn state(record: &Record, core: &Value) -> String {
    match &record.state {
        RecordState::Present => {}
        RecordState::Deleted => return format!("{RED}deleted on GitHub{RED:#}"),
        RecordState::Hidden => return format!("{RED}hidden on GitHub{RED:#}"),
        RecordState::Transferred { to } => {
            return format!("{RED}transferred to {}{RED:#}", safe(to.as_deref().unwrap_or("another repository")));
        }
    }
    let merged = core["pull_request"]["merged_at"].is_string() || core["merged_at"].is_string();
    match text(core, "state") {
        _ if merged => format!("{PURPLE}merged{PURPLE:#}"),
        "open" => format!("{GREEN}open{GREEN:#}"),
        state => format!("{RED}{}{RED:#}", safe(state)),
    }
}

fn print_event(event: &Value) {
    match text(event, "event") {
        "commented" => print_said(&login(event, "user"), text(event, "created_at"), text(event, "body")),
        "reviewed" => {
            let who = format!("{} reviewed: {}", login(event, "user"), safe(text(event, "state")));
            print_said(&who, text(event, "submitted_at"), text(event, "body"));
        }
        "committed" => {
            let first_line = text(event, "message").lines().next().unwrap_or_default();
            line(format_args!("{DIM}· commit {:.10} {}{DIM:#}", text(event, "sha"), safe(first_line)));
        }
        name => {
            let what = ["/label/name", "/milestone/title", "/assignee/login", "/rename/to", "/source/issue/html_url"];
            let what = what.iter().find_map(|path| event.pointer(path).and_then(Value::as_str)).unwrap_or_default();
            let when = text(event, "created_at");
            line(format_args!("{DIM}· {} {} {} {when}{DIM:#}", login(event, "actor"), safe(name), safe(what)));
        }
    }
}

fn print_said(who: &str, when: &str, body: &str) {
    line(format_args!("\n{BOLD}{who}{BOLD:#} {DIM}{when}{DIM:#}"));
    line(safe(body));
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn login(value: &Value, field: &str) -> String {
    safe(value[field]["login"].as_str().unwrap_or("ghost"))
}
