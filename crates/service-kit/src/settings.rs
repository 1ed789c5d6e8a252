//! Settings: one commented TOML file with compiled-in defaults, overridden by a file and by the environment.
//!
//! `default.toml` is the reference of all fields, their units and their defaults; this module is its shape.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use gharvest_model::RepositoryName;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::{
    cadence::{self, Cadence},
    duration,
};

/// All settings of all components.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `[github]`
    pub github: GithubSettings,
    /// `[webhook]`
    pub webhook: WebhookSettings,
    /// `[queue]`
    pub queue: QueueSettings,
    /// `[archive]`
    pub archive: ArchiveSettings,
    /// `[search]`
    pub search: SearchSettings,
    /// `[downloader]`
    pub downloader: DownloaderSettings,
    /// `[indexer]`
    pub indexer: IndexerSettings,
    /// `[seeder]`
    pub seeder: SeederSettings,
    /// `[web]`
    pub web: WebSettings,
    /// `[notify]`
    pub notify: NotifySettings,
    /// `[log]`
    pub log: LogSettings,
    /// `[trace]`
    pub trace: TraceSettings,
    /// The data folder; from `--data-dir`, not from the file.
    #[serde(skip)]
    pub data_dir: PathBuf,
}

/// `[github]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GithubSettings {
    /// Base of the REST API, no trailing slash.
    pub api_url: String,
    /// Base of GitHub's pages, no trailing slash.
    pub web_url: String,
    /// Personal access tokens; `live=` or `scheduled=` before one reserves it for such work.
    pub tokens: Vec<SecretString>,
    /// A GitHub App: its client id or its numeric id; empty for none.
    pub app: String,
    /// The App's private key, PEM.
    pub app_private_key: SecretString,
    /// Ids of the App's installations; `live=` or `scheduled=` before one reserves it.
    pub app_installations: Vec<String>,
    /// For one request.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// The largest answer after decompression, bytes.
    pub max_body_bytes: usize,
    /// Requests in flight at once.
    pub concurrency: usize,
    /// Points a minute over all tokens.
    pub points_per_minute: u32,
    /// Calls of each token's hourly budget kept for webhooks and people.
    pub reserve: u32,
    /// The `User-Agent` header.
    pub user_agent: String,
}

impl GithubSettings {
    /// GitHub's secondary limit at its own address; an Enterprise host's administrator sets that host's.
    fn most_points_per_minute(&self) -> u32 {
        if self.api_url == "https://api.github.com" { 900 } else { u32::MAX }
    }
}

/// `[webhook]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Any of them may have signed a delivery.
    pub secrets: Vec<SecretString>,
    /// `owner=SECRET` or `owner/name=SECRET`: signs deliveries of that owner or repository only.
    pub secrets_of: Vec<SecretString>,
    /// Accept deliveries without a signature.
    pub allow_unsigned: bool,
    /// What happens to events of repositories that are not tracked.
    pub untracked: Untracked,
    /// The longest body, bytes.
    pub max_body_bytes: usize,
    /// Where the receiver listens as a process of its own.
    pub listen: String,
    /// At shutdown, deliveries are still taken for so long, while proxies notice.
    #[serde(with = "duration")]
    pub withdraw: Duration,
}

impl WebhookSettings {
    /// Whether any delivery can be accepted: one that is signed by a secret known here, or by nobody.
    pub fn takes_deliveries(&self) -> bool {
        self.allow_unsigned || !self.secrets.is_empty() || !self.secrets_of.is_empty()
    }
}

/// What happens to events of repositories that are not tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Untracked {
    /// Counted and forgotten.
    Ignore,
    /// Tracked from then on.
    Track,
}

/// `[queue]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSettings {
    /// `sqlite:FILE` or `redis://…`; empty for the data folder's.
    pub url: String,
    /// Keeps deployments on one Redis apart.
    pub namespace: String,
    /// Silence before a thread is downloaded.
    #[serde(with = "duration")]
    pub inactivity_delay: Duration,
    /// The latest start after the first trigger.
    #[serde(with = "duration")]
    pub max_delay: Duration,
    /// Attempts before a job is buried.
    pub max_attempts: u32,
    /// Leases of a job lost, by crashes, before it is taken for what crashes the worker, and buried.
    pub max_lost: u32,
    /// The first pause between attempts.
    #[serde(with = "duration")]
    pub retry_shortest: Duration,
    /// The longest pause between attempts.
    #[serde(with = "duration")]
    pub retry_longest: Duration,
}

/// `[archive]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveSettings {
    /// `file:FOLDER` or `s3://…`; empty for the data folder's.
    pub url: String,
    /// Store records compressed.
    pub compress: bool,
    /// The most entries of the inbox.
    pub inbox_limit: usize,
    /// Free space below which the download queue is paused, bytes.
    pub min_free_bytes: u64,
}

/// `[search]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchSettings {
    /// `tantivy:FOLDER` or `http(s)://…`; empty for the data folder's.
    pub url: String,
    /// For Basic authentication; empty for none.
    pub username: String,
    /// For Basic authentication.
    pub password: SecretString,
    /// An encoded API key; empty for none.
    pub api_key: SecretString,
    /// A CA certificate in PEM; empty for the usual ones.
    pub ca_file: String,
    /// Names of indices and aliases begin with it.
    pub index_prefix: String,
    /// Whether an engine gets indices of what is public beside those of everything.
    pub public_indices: bool,
    /// For one search.
    #[serde(with = "duration")]
    pub timeout: Duration,
}

/// `[downloader]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DownloaderSettings {
    /// Jobs in work at once.
    pub workers: usize,
    /// Jobs leased at once.
    pub batch: usize,
    /// How long a lease lasts without a heartbeat.
    #[serde(with = "duration")]
    pub lease: Duration,
    /// How long work in hand may take at shutdown.
    #[serde(with = "duration")]
    pub drain: Duration,
    /// Health and metrics, as a process of its own.
    pub listen: String,
    /// Whether first mirrors and the sweep's comparisons use GraphQL.
    pub graphql: bool,
    /// A longer timeline is an error.
    pub max_timeline_pages: usize,
    /// Older texts kept per record.
    pub max_history: usize,
    /// GitHub's edit histories are asked for while more than this share of GraphQL's budget is left; 1 for never.
    pub edits_reserve: f64,
    /// Hosts whose images are kept in the archive, each with the beginning of a path or without; none keeps no images.
    pub image_hosts: Vec<String>,
    /// The largest image that is kept, bytes.
    pub max_image_bytes: usize,
    /// `owner/name=owner/private`: a repository of placeholders, and where what stands behind them is.
    pub twins: Vec<Twins>,
    /// Titles of placeholders.
    pub twin_titles: Vec<String>,
}

/// A repository whose items are placeholders until somebody has looked at them, and the private one with their content.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Twins {
    /// What everybody sees.
    pub public: RepositoryName,
    /// What stands behind it.
    pub private: RepositoryName,
}

impl TryFrom<String> for Twins {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("[downloader] twins: expected OWNER/NAME=OWNER/PRIVATE, found `{text}`");
        let (public, private) = text.split_once('=').ok_or_else(wrong)?;
        let name = |text: &str| text.trim().parse().map_err(|_| wrong());
        Ok(Self { public: name(public)?, private: name(private)? })
    }
}

/// `[indexer]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexerSettings {
    /// Batches in work at once.
    pub workers: usize,
    /// Threads per commit.
    pub batch: usize,
    /// A batch is committed this long after its first thread.
    #[serde(with = "duration")]
    pub linger: Duration,
    /// How long a lease lasts without a heartbeat.
    #[serde(with = "duration")]
    pub lease: Duration,
    /// How long work in hand may take at shutdown.
    #[serde(with = "duration")]
    pub drain: Duration,
    /// Health and metrics, as a process of its own.
    pub listen: String,
    /// Daily counts of a repository are made anew at most this often, and not for 20 times what the last ones took, unless
    /// somebody asks for that one job; zero is whenever anything changed.
    #[serde(with = "duration")]
    pub daily_delay: Duration,
}

/// `[seeder]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeederSettings {
    /// How often each repository is asked what was updated.
    pub reconcile_every: Cadence,
    /// How much further each question looks back.
    #[serde(with = "duration")]
    pub overlap: Duration,
    /// How often repository data is fetched.
    pub metadata_every: Cadence,
    /// Every item is verified once in this time.
    #[serde(with = "duration")]
    pub sweep_period: Duration,
    /// The sweep's share of the budget, 0 to 1.
    pub sweep_share: f64,
    /// How often the ledger is looked at for numbers not accounted for.
    pub gap_every: Cadence,
    /// How often GitHub is asked for deliveries that failed.
    #[serde(with = "duration")]
    pub deliveries_every: Duration,
    /// Whose log of deliveries it is asked for.
    pub deliveries_of: DeliveryLog,
    /// How often a snapshot of the archive is made; none for only when somebody asks.
    #[serde(deserialize_with = "cadence::optional")]
    pub snapshot_every: Option<Cadence>,
    /// How long snapshots are kept; the last good one always is.
    #[serde(with = "duration")]
    pub snapshot_keep: Duration,
    /// Where snapshots lie; empty for `snapshots` in the archive's folder.
    pub snapshot_folder: String,
    /// How often it is noted for dashboards how the system is doing; none for never.
    #[serde(deserialize_with = "cadence::optional")]
    pub operations_every: Option<Cadence>,
    /// Whole months of that are forgotten which ended so long ago.
    #[serde(with = "duration")]
    pub operations_keep: Duration,
    /// Health and metrics, as a process of its own.
    pub listen: String,
}

/// Whose log tells which deliveries failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryLog {
    /// The GitHub App's if there is an App, else that of each repository's hook.
    Auto,
    /// Each repository's hook, even where an App gives the tokens.
    Hooks,
    /// The App's own.
    App,
}

/// `[web]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebSettings {
    /// Where it listens.
    pub listen: String,
    /// How people reach it; empty for `listen`.
    pub public_url: String,
    /// What is shown without a key.
    pub anonymous: Anonymous,
    /// Peers whose forwarding headers count.
    pub trusted_proxies: Vec<Network>,
    /// Header in which the proxy names the user; empty for none.
    pub user_header: String,
    /// Websites that may read the API.
    pub cors_origins: Vec<String>,
    /// The longest query, bytes.
    pub max_query_bytes: usize,
    /// Hits a page.
    pub page_size: usize,
    /// Live readers at once.
    pub live_readers: usize,
    /// Of these, one client's: a key, a user, or an address.
    pub live_readers_per_client: usize,
}

/// An address, or a network of them as in `172.16.0.0/12`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network {
    address: IpAddr,
    /// How many of its leading bits count.
    bits: u32,
}

impl Network {
    /// Whether an address is in it; IPv4 written as IPv6 is IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()).checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()).checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("[web] trusted_proxies: `{text}` is no address and no network such as 172.16.0.0/12");
        let (address, bits) = text.split_once('/').map_or((&*text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.trim().parse().map_err(|_| wrong()))?;
        if bits <= most { Ok(Self { address, bits }) } else { Err(wrong()) }
    }
}

/// What is shown without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anonymous {
    /// Nothing, unless the address is loopback: then everything, as nobody else reaches it.
    None,
    /// What is public.
    Public,
}

/// `[notify]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifySettings {
    /// Alarms are posted here; empty: nobody is told.
    pub url: SecretString,
    /// Fetched every minute while all runs; empty: nobody counts.
    pub ping_url: SecretString,
    /// An alarm is told when it has held for so long.
    #[serde(with = "duration")]
    pub after: Duration,
    /// And again while it lasts.
    #[serde(with = "duration")]
    pub remind_every: Duration,
    /// A job that waits longer is an alarm.
    #[serde(with = "duration")]
    pub lag: Duration,
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// Text for people or JSON for machines.
    pub format: LogFormat,
    /// A filter as in `RUST_LOG`.
    pub level: String,
}

/// `[trace]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceSettings {
    /// Base of a collector that takes OTLP over HTTP; empty: nothing is traced.
    pub url: String,
    /// The part of all traces that is kept, 0 to 1.
    pub share: f64,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Settings {
    pub(crate) fn deserialize_table(table: toml::Table) -> Result<Self, toml::de::Error> {
        Self::deserialize(table)
    }

    /// The queue's URL, the data folder's own if none is set.
    pub fn queue_url(&self) -> String {
        self.url_or(&self.queue.url, "sqlite", "queue.sqlite")
    }

    /// The archive's URL, the data folder's own if none is set.
    pub fn archive_url(&self) -> String {
        self.url_or(&self.archive.url, "file", "archive")
    }

    /// The search engine's URL, the data folder's own if none is set.
    pub fn search_url(&self) -> String {
        self.url_or(&self.search.url, "tantivy", "index")
    }

    /// Where snapshots lie; none if the archive is no folder and nobody said.
    pub fn snapshot_folder(&self) -> Option<PathBuf> {
        if !self.seeder.snapshot_folder.is_empty() {
            return Some(PathBuf::from(&self.seeder.snapshot_folder));
        }
        self.archive_url().strip_prefix("file:").map(|archive| PathBuf::from(archive).join("snapshots"))
    }

    fn url_or(&self, url: &str, scheme: &str, name: &str) -> String {
        if url.is_empty() { format!("{scheme}:{}", self.data_dir.join(name).display()) } else { url.to_owned() }
    }

    /// What is wrong with the settings as a whole, each problem a sentence that names the setting.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Problems::default();
        self.github.check(&mut problems);
        self.webhook.check(&mut problems);
        self.queue.check(&mut problems);
        problems.unless(
            begins_with(&self.archive.url, &["file:", "s3://"]),
            "[archive] url must begin with file: or s3://",
        );
        self.search.check(&mut problems);
        self.downloader.check(&mut problems);
        self.indexer.check(&mut problems);
        self.seeder.check(&mut problems);
        problems.unless(
            [&self.notify.url, &self.notify.ping_url]
                .into_iter()
                .all(|url| begins_with(url.expose_secret(), &["http://", "https://"])),
            "[notify] url and ping_url must begin with http:// or https://",
        );
        for (key, cadence) in
            [("snapshot_every", &self.seeder.snapshot_every), ("operations_every", &self.seeder.operations_every)]
        {
            let is_possible = !matches!(cadence, Some(Cadence::Every(every)) if every.as_secs() < 60);
            problems.unless(is_possible, &format!("[seeder] {key} must be at least 1m"));
        }
        problems.unless(
            self.seeder.snapshot_every.is_none() || self.snapshot_folder().is_some(),
            "[seeder] snapshot_folder must say where snapshots go, because the archive is no folder",
        );
        problems.unless(
            begins_with(&self.trace.url, &["http://", "https://"]),
            "[trace] url must begin with http:// or https://",
        );
        problems.unless((0.0..=1.0).contains(&self.trace.share), "[trace] share must be 0 to 1");
        problems.unless((1..=100).contains(&self.web.page_size), "[web] page_size must be 1 to 100");
        self.check_addresses(&mut problems);
        problems.0
    }

    fn check_addresses(&self, problems: &mut Problems) {
        for (name, address) in [
            ("web", &self.web.listen),
            ("webhook", &self.webhook.listen),
            ("downloader", &self.downloader.listen),
            ("indexer", &self.indexer.listen),
            ("seeder", &self.seeder.listen),
        ] {
            problems.unless(
                address.parse::<std::net::SocketAddr>().is_ok(),
                &format!("[{name}] listen: `{address}` is not ADDRESS:PORT, as in 127.0.0.1:8080"),
            );
        }
    }
}

/// Sentences about what is wrong.
#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn unless(&mut self, holds: bool, sentence: &str) {
        if !holds {
            self.0.push(sentence.to_owned());
        }
    }
}

impl GithubSettings {
    fn check(&self, problems: &mut Problems) {
        problems.unless(
            begins_with(&self.api_url, &["http://", "https://"]) && !self.api_url.ends_with('/'),
            "[github] api_url must begin with http:// or https:// and end without a slash",
        );
        problems.unless(
            (1..=100).contains(&self.concurrency),
            "[github] concurrency must be 1 to 100: GitHub allows no more",
        );
        problems.unless(
            (1..=self.most_points_per_minute()).contains(&self.points_per_minute),
            "[github] points_per_minute must be 1 to 900: GitHub's secondary limit",
        );
        problems.unless(
            !self.user_agent.trim().is_empty(),
            "[github] user_agent must not be empty: GitHub refuses requests without one",
        );
        problems.unless(
            self.tokens.iter().all(|token| is_header_value(token.expose_secret())),
            "[github] tokens: a token has characters that cannot be sent; was a line break copied with it?",
        );
    }
}

impl WebhookSettings {
    fn check(&self, problems: &mut Problems) {
        problems.unless(
            self.secrets_of.iter().all(|text| is_secret_of(text.expose_secret())),
            "[webhook] secrets_of: expected OWNER=SECRET or OWNER/NAME=SECRET, as in octo/box=correct-horse",
        );
    }
}

impl QueueSettings {
    fn check(&self, problems: &mut Problems) {
        problems.unless(
            self.inactivity_delay <= self.max_delay,
            "[queue] max_delay must not be less than inactivity_delay",
        );
        problems.unless(self.max_attempts >= 1, "[queue] max_attempts must be at least 1");
        problems.unless(self.max_lost >= 1, "[queue] max_lost must be at least 1");
        problems.unless(
            self.retry_shortest <= self.retry_longest,
            "[queue] retry_longest must not be less than retry_shortest",
        );
        problems.unless(
            begins_with(&self.url, &["sqlite:", "redis://", "rediss://"]),
            "[queue] url must begin with sqlite:, redis:// or rediss://",
        );
        problems.unless(is_name(&self.namespace), "[queue] namespace must be lower-case letters, digits and -");
    }
}

impl SearchSettings {
    fn check(&self, problems: &mut Problems) {
        problems.unless(
            begins_with(&self.url, &["tantivy:", "http://", "https://"]),
            "[search] url must begin with tantivy:, http:// or https://",
        );
        problems.unless(is_name(&self.index_prefix), "[search] index_prefix must be lower-case letters, digits and -");
        problems.unless(
            !self.public_indices || self.url.starts_with("http"),
            "[search] public_indices needs an engine: the embedded index is read through gharvest alone",
        );
    }
}

impl DownloaderSettings {
    fn check(&self, problems: &mut Problems) {
        problems.unless(self.workers >= 1 && self.batch >= 1, "[downloader] workers and batch must be at least 1");
        problems.unless(self.lease.as_secs() >= 10, "[downloader] lease must be at least 10s");
        problems.unless((0.0..=1.0).contains(&self.edits_reserve), "[downloader] edits_reserve must be 0 to 1");
        problems.unless(
            self.twins.is_empty() || !self.twin_titles.is_empty(),
            "[downloader] twin_titles must say what placeholders are called, because there are twins",
        );
        problems.unless(
            self.twins.iter().all(|twins| twins.public.key() != twins.private.key()),
            "[downloader] twins: a repository cannot be its own twin",
        );
    }
}

impl IndexerSettings {
    fn check(&self, problems: &mut Problems) {
        problems.unless(self.workers >= 1 && self.batch >= 1, "[indexer] workers and batch must be at least 1");
        problems.unless(self.lease.as_secs() >= 10, "[indexer] lease must be at least 10s");
    }
}

impl SeederSettings {
    fn check(&self, problems: &mut Problems) {
        problems.unless((0.0..=1.0).contains(&self.sweep_share), "[seeder] sweep_share must be 0 to 1");
        problems.unless(self.sweep_period.as_secs() >= 1, "[seeder] sweep_period must be at least 1s");
        for (key, cadence) in [
            ("reconcile_every", &self.reconcile_every),
            ("metadata_every", &self.metadata_every),
            ("gap_every", &self.gap_every),
        ] {
            let is_possible = !matches!(cadence, Cadence::Every(every) if every.as_secs() < 1);
            problems.unless(is_possible, &format!("[seeder] {key} must be at least 1s"));
        }
        problems.unless(
            (1..=86_400).contains(&self.deliveries_every.as_secs()),
            "[seeder] deliveries_every must be 1s to 1d: GitHub keeps deliveries for three days",
        );
    }
}

/// Whether a URL has one of these beginnings, or is left to its default.
fn begins_with(url: &str, known: &[&str]) -> bool {
    url.is_empty() || known.iter().any(|known| url.starts_with(known))
}

fn is_secret_of(text: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let Some((name, secret)) = text.split_once('=') else { return false };
    let (owner, rest) = name.trim().split_once('/').unwrap_or((name.trim(), "any"));
    is_name(owner) && is_name(rest) && !secret.is_empty()
}

fn is_header_value(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 40
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
