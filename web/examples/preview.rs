//! Serves the web front over a recorded repository, without a queue at work: for looking at pages.
//!
//! `cargo run -p gharvest-web --example preview -- FOLDER OWNER/NAME [ADDRESS]`, where FOLDER holds `issues/N.json` and
//! `pulls/N.json` as github-metadata-backup writes them. Everything else lives in a temporary folder.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for developers")]

use std::{collections::BTreeMap, path::Path, sync::Arc};

use anyhow::Context;
use async_trait::async_trait;
use futures::StreamExt;
use gharvest_archive::{Archive, LedgerChange, Options};
use gharvest_model::{
    ItemId, ItemRef, Kind, Record, RepositoryId, RepositoryName, job::part, ledger::NumberState, live::LiveEvent,
    record::RecordRepository, tracking::Tracked,
};
use gharvest_queue::Policy;
use gharvest_queue_sqlite::SqliteQueue;
use gharvest_search::{
    SearchIndex,
    daily::{Builder, DailyContext, day_of},
    render::{self, RenderContext},
};
use gharvest_search_tantivy::TantivyIndex;
use gharvest_service_kit::load::Sources;
use gharvest_state::{SqliteState, State};
use gharvest_web::{Backends, Budget, OperationError, Operations, WebState};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const REPOSITORY: RepositoryId = RepositoryId(1);

#[derive(Debug)]
struct NoOperations;

#[async_trait]
impl Operations for NoOperations {
    async fn track(&self, _: &RepositoryName) -> Result<Tracked, OperationError> {
        Err(OperationError::Refused("a preview tracks nothing".to_owned()))
    }

    async fn untrack(&self, _: RepositoryId, _: bool) -> Result<(), OperationError> {
        Err(OperationError::Refused("a preview tracks nothing".to_owned()))
    }

    async fn download(&self, _: &ItemRef) -> Result<ItemId, OperationError> {
        Err(OperationError::Refused("a preview downloads nothing".to_owned()))
    }

    async fn budgets(&self) -> Vec<Budget> {
        Vec::new()
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().context("which folder?")?;
    let name: RepositoryName = arguments.next().context("which repository?")?.parse()?;
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let data = tempfile::tempdir()?;
    let sources = Sources { config: None, data_dir: Some(data.path().to_owned()), environment: BTreeMap::new() };
    let mut settings = sources.load()?.settings;
    let listener = tokio::net::TcpListener::bind(&listen).await?;
    settings.web.listen = listener.local_addr()?.to_string();
    let archive = Archive::open(&settings.archive_url(), &Options::default()).await?;
    let file = data.path().join("queue.sqlite");
    let state: Arc<dyn State> = SqliteState::open(&file).await?;
    let index: Arc<dyn SearchIndex> = TantivyIndex::open(&data.path().join("index")).await?;
    index.ensure(archive.id()).await?;
    fill(&archive, &index, &state, Path::new(&folder), &name).await?;
    let backends = Backends {
        queue: SqliteQueue::open(&file, Policy::default()).await?,
        archive,
        state,
        search: index,
        operations: Arc::new(NoOperations),
    };
    let mut web = WebState::new(backends, &settings);
    web.shutdown = CancellationToken::new();
    println!("http://{}", settings.web.listen);
    gharvest_web::serve_on(listener, web).await
}

async fn fill(
    archive: &Archive,
    index: &Arc<dyn SearchIndex>,
    state: &Arc<dyn State>,
    folder: &Path,
    name: &RepositoryName,
) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let object = json!({"id": 1, "full_name": name, "description": "A recorded repository", "stargazers_count": 2000});
    archive
        .put_repository(&serde_json::from_value(
            json!({"id": 1, "full_name": name, "repository": object, "fetched_at": now}),
        )?)
        .await?;
    archive.track(serde_json::from_value(json!({"id": 1, "name": name, "since": now}))?).await?;
    let mut changes = Vec::new();
    let mut labels = BTreeMap::new();
    for (sub, kind) in [("issues", Kind::Issue), ("pulls", Kind::PullRequest)] {
        for entry in std::fs::read_dir(folder.join(sub))? {
            let path = entry?.path();
            let file: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()).context("a number")?;
            let record = record(&file, name, number, kind, now);
            let context = RenderContext {
                repository: name.to_string(),
                archived: false,
                label_renames: Default::default(),
                rendered_at: now,
            };
            index.apply(vec![render::thread(&record, &context)]).await?;
            for label in record.core().and_then(|core| core["labels"].as_array()).into_iter().flatten() {
                labels.insert(label["name"].to_string(), label.clone());
            }
            if number > 1900 {
                state.publish(&[event(&record)]).await?;
            }
            archive.put_record(record).await?;
            changes.push(LedgerChange { number, state: NumberState::Present, verified_at: now });
        }
    }
    archive.put_part(REPOSITORY, part::LABELS, &labels.into_values().collect()).await?;
    daily(index, name).await?;
    archive.update_ledger(REPOSITORY, &changes).await?;
    index.commit().await?;
    Ok(())
}

/// The daily counts that the backlog's plot shows.
async fn daily(index: &Arc<dyn SearchIndex>, name: &RepositoryName) -> anyhow::Result<()> {
    index.commit().await?;
    let mut builder = Builder::new();
    let mut intervals = index.intervals(REPOSITORY);
    while let Some(interval) = intervals.next().await {
        builder.add(interval?);
    }
    let context = DailyContext { repository_id: REPOSITORY, repository: name.to_string(), private: false, version: 1 };
    let rows = builder.finish(context, day_of(Timestamp::now())).collect();
    index.apply_daily(REPOSITORY, rows, true).await?;
    Ok(())
}

fn record(file: &Value, name: &RepositoryName, number: u64, kind: Kind, now: Timestamp) -> Record {
    let repository = RecordRepository { id: REPOSITORY, full_name: name.clone() };
    let mut record = Record::new(repository, number, kind, now);
    let list = |key: &str| file[key].as_array().cloned().unwrap_or_default();
    record.issue = file.get("issue").cloned();
    record.pull = file.get("pull").cloned();
    record.timeline = list("events");
    record.review_comments = list("comments");
    record
}

fn event(record: &Record) -> LiveEvent {
    let core = record.core().unwrap_or(&Value::Null);
    LiveEvent {
        item: record.id(),
        repository: record.repository.full_name.clone(),
        kind: record.kind,
        title: core["title"].as_str().unwrap_or("").to_owned(),
        state: core["state"].as_str().unwrap_or("open").to_lowercase(),
        revision: record.revision,
        visibility: record.visibility,
        at: record.fetched_at,
    }
}
