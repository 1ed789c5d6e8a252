//! Turns the URLs of the settings into backends: the one place that names them all.
//!
//! | port | `…` | backend |
//! | --- | --- | --- |
//! | Queue, State | `sqlite:FILE` | one SQLite file for both |
//! | Queue, State | `redis://…`, `rediss://…` | one Redis for both |
//! | Archive | `file:FOLDER`, `s3://BUCKET/PREFIX` | a folder, or object storage |
//! | SearchIndex | `tantivy:FOLDER` | embedded |
//! | SearchIndex, OperationsLog | `http://…`, `https://…` | Elasticsearch or OpenSearch |

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, ensure};
use gharvest_archive::Archive;
use gharvest_queue::{Policy, QueueAdmin};
use gharvest_queue_sqlite::SqliteQueue;
use gharvest_service_kit::Settings;
use gharvest_state::{SqliteState, State};

#[cfg(feature = "operations")]
mod elastic;
#[cfg(feature = "github")]
mod github;
#[cfg(feature = "search")]
mod search;
mod watch;

#[cfg(feature = "operations")]
pub use elastic::operations_log;
#[cfg(feature = "github")]
pub use github::{examine_tokens, github, set_tokens};
#[cfg(feature = "search")]
pub use search::{ensure_index, index, index_read_only};
pub use watch::watch_queue;

/// The delays and limits of the queue as set.
pub fn policy(settings: &Settings) -> Policy {
    Policy {
        inactivity_delay: settings.queue.inactivity_delay,
        max_delay: settings.queue.max_delay,
        max_attempts: settings.queue.max_attempts,
        max_lost: settings.queue.max_lost,
        retry_shortest: settings.queue.retry_shortest,
        retry_longest: settings.queue.retry_longest,
    }
}

/// The folder of the embedded index; none where the settings name a search engine.
pub fn index_folder(settings: &Settings) -> Option<PathBuf> {
    settings.search_url().strip_prefix("tantivy:").map(PathBuf::from)
}

/// Opens the queue.
pub async fn queue(settings: &Settings) -> anyhow::Result<Arc<dyn QueueAdmin>> {
    let url = settings.queue_url();
    if is_redis(&url) {
        let queue = gharvest_queue_redis::RedisQueue::connect(&url, &settings.queue.namespace, policy(settings)).await;
        return Ok(queue.with_context(|| opening("queue", &url))?);
    }
    let path = sqlite_path(&url);
    make_folder_of(&path).await?;
    Ok(SqliteQueue::open(&path, policy(settings)).await.with_context(|| opening("queue", &url))?)
}

/// Opens the queue of who lends a hand to a system: of a wrong folder, an empty queue made there would tell nothing.
///
/// # Errors
/// Also when there is none.
pub async fn existing_queue(settings: &Settings) -> anyhow::Result<Arc<dyn QueueAdmin>> {
    let url = settings.queue_url();
    if !is_redis(&url) {
        let path = sqlite_path(&url);
        let is_there = tokio::fs::try_exists(&path).await.with_context(|| opening("queue", &url))?;
        ensure!(is_there, missing("queue", &url));
    }
    queue(settings).await
}

/// Opens the archive as [`existing_queue`] does the queue.
///
/// # Errors
/// Also when there is none.
pub async fn existing_archive(settings: &Settings) -> anyhow::Result<Archive> {
    let url = settings.archive_url();
    let is_there = Archive::exists(&url).await.with_context(|| opening("archive", &url))?;
    ensure!(is_there, missing("archive", &url));
    archive(settings).await
}

/// Opens the queue for who can do without it for a while: a Redis is connected to once it is used.
///
/// # Errors
/// When the settings cannot be right, or a file cannot be opened.
pub async fn queue_when_used(settings: &Settings) -> anyhow::Result<Arc<dyn QueueAdmin>> {
    let url = settings.queue_url();
    if !is_redis(&url) {
        return queue(settings).await;
    }
    let queue = gharvest_queue_redis::RedisQueue::connect_later(&url, &settings.queue.namespace, policy(settings));
    Ok(queue.with_context(|| opening("queue", &url))?)
}

/// Opens the state as [`queue_when_used`] does the queue.
///
/// # Errors
/// As there.
pub async fn state_when_used(settings: &Settings) -> anyhow::Result<Arc<dyn State>> {
    let url = settings.queue_url();
    if !is_redis(&url) {
        return state(settings).await;
    }
    let state = gharvest_queue_redis::RedisState::connect_later(&url, &settings.queue.namespace);
    Ok(state.with_context(|| opening("state", &url))?)
}

/// Opens the state, which lives where the queue does.
pub async fn state(settings: &Settings) -> anyhow::Result<Arc<dyn State>> {
    let url = settings.queue_url();
    if is_redis(&url) {
        let state = gharvest_queue_redis::RedisState::connect(&url, &settings.queue.namespace).await;
        return Ok(state.with_context(|| opening("state", &url))?);
    }
    let path = sqlite_path(&url);
    make_folder_of(&path).await?;
    Ok(SqliteState::open(&path).await.with_context(|| opening("state", &url))?)
}

/// Opens the archive, and makes it if there is none.
pub async fn archive(settings: &Settings) -> anyhow::Result<Archive> {
    let url = settings.archive_url();
    let options = gharvest_archive::Options {
        compress: settings.archive.compress,
        inbox_limit: settings.archive.inbox_limit,
        ..gharvest_archive::Options::default()
    };
    Archive::open(&url, &options).await.with_context(|| opening("archive", &url))
}

fn is_redis(url: &str) -> bool {
    url.starts_with("redis://") || url.starts_with("rediss://")
}

fn sqlite_path(url: &str) -> PathBuf {
    PathBuf::from(url.strip_prefix("sqlite:").unwrap_or(url))
}

async fn make_folder_of(path: &Path) -> anyhow::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    let made = tokio::fs::create_dir_all(folder).await;
    made.with_context(|| format!("the folder `{}` cannot be made", folder.display()))
}

fn missing(what: &str, url: &str) -> String {
    let url = gharvest_service_kit::load::without_password(url);
    format!("there is no {what} at {url}: say where it is with --data-dir or --config")
}

fn opening(what: &str, url: &str) -> String {
    format!("opening the {what} at {}", gharvest_service_kit::load::without_password(url))
}
