//! Either way to the queues: on the backends themselves, or over HTTP.

use anyhow::{Context, anyhow};
use gharvest_queue_requests::{InPieces, Jobs, Problem, Request, Route, TURN, whole};
use gharvest_service_kit::{Settings, process::Usage};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Where requests go.
#[derive(Debug)]
pub(crate) enum Hand {
    /// The backends.
    Here(Box<Jobs>),
    /// A running system.
    There(Remote),
}

impl Hand {
    /// Opens the backends of these settings, if there is a system already. The search index is opened only if it is asked for, and may be away.
    pub(crate) async fn here(settings: &Settings, with_search: bool) -> anyhow::Result<Self> {
        let archive = gharvest_backends::existing_archive(settings).await?;
        let queue = gharvest_backends::existing_queue(settings).await?;
        let search = match with_search {
            true => gharvest_backends::index_read_only(settings).await.ok(),
            false => None,
        };
        Ok(Self::Here(Box::new(Jobs {
            queue,
            archive,
            state: gharvest_backends::state(settings).await?,
            search,
            turn: TURN,
        })))
    }

    /// Asks for what may take several requests, until all of it is done.
    pub(crate) async fn ask_whole<R: InPieces>(&self, request: R) -> anyhow::Result<R::Answer> {
        whole(request, async |request: &R| self.ask(request).await).await
    }

    /// Asks. What is wrong with the request itself is a [`Usage`].
    pub(crate) async fn ask<R: Request>(&self, request: &R) -> anyhow::Result<R::Answer> {
        match self {
            Self::Here(jobs) => request.ask(jobs).await.map_err(|problem| match problem {
                Problem::Invalid(message) => anyhow!(Usage(message)),
                other => anyhow!(other),
            }),
            Self::There(remote) => remote.ask(request).await,
        }
    }
}

/// A running system's API.
pub(crate) struct Remote {
    client: reqwest::Client,
    server: String,
    key: Option<String>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("server", &self.server).finish_non_exhaustive()
    }
}

/// What matters of problem details (RFC 9457).
#[derive(Deserialize)]
struct Detail {
    detail: String,
}

/// The longest time for one answer: a range of a hundred thousand jobs takes seconds.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

impl Remote {
    pub(crate) fn new(server: &str, key: Option<&str>) -> anyhow::Result<Self> {
        let server = server.trim_end_matches('/');
        if !server.starts_with("http://") && !server.starts_with("https://") {
            let message = format!("--server `{server}` is no address: expected one as in https://gharvest.example.org");
            return Err(anyhow!(Usage(message)));
        }
        let client = reqwest::Client::builder().timeout(PATIENCE).build().context("setting up HTTP")?;
        Ok(Self { client, server: server.to_owned(), key: key.map(str::to_owned) })
    }

    async fn ask<R: Request>(&self, request: &R) -> anyhow::Result<R::Answer> {
        let builder = match request.route() {
            // What stands in the path already is not repeated.
            Route::Get(path) if path.contains('%') => self.client.get(format!("{}{path}", self.server)),
            Route::Get(path) => self.client.get(format!("{}{path}", self.server)).query(request),
            Route::Post(path) => self.client.post(format!("{}{path}", self.server)).json(request),
        };
        let builder = match &self.key {
            Some(key) => builder.bearer_auth(key),
            None => builder,
        };
        let answer = builder.send().await.with_context(|| format!("asking {}", self.server))?;
        let status = answer.status();
        let body = answer.bytes().await.with_context(|| format!("reading the answer of {}", self.server))?;
        if status.is_success() {
            return read(&body).with_context(|| format!("the answer of {} is not one of gharvest's", self.server));
        }
        let detail = serde_json::from_slice::<Detail>(&body);
        let detail = detail.map_or_else(|_| format!("{} answers {status}", self.server), |problem| problem.detail);
        // 401 and 403 are not a matter of how it was written.
        if matches!(status.as_u16(), 400 | 422) { Err(anyhow!(Usage(detail))) } else { Err(anyhow!(detail)) }
    }
}

/// No content is the answer of requests that answer nothing.
fn read<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(if body.is_empty() { b"null" } else { body })
}
