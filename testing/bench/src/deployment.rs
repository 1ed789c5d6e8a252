//! The deployment of a team: each component a process of its own, on Redis and a search engine.
//!
//! A generated repository is mirrored; then changes come at a steady rate, each told by webhook, and each is looked for
//! through the web front until it is found. There is no inactivity delay, so what is measured is all that comes beyond
//! it: delivery, queue, download, record, queue again, documents, and the commit that makes them searchable. Afterwards
//! each process says how much memory it took at most.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use gharvest_github_simulator::{Change, Webhook};
use gharvest_testkit::{SearchServer, redis::RedisServer};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::{
    measure::{Scale, Times},
    memory,
    system::{Github, REPOSITORY, Shown, System, settings},
    table::Row,
};

const COMPONENTS: [&str; 5] = ["downloader", "indexer", "seeder", "webhook-receiver", "web"];
const SECRET: &str = "a secret of the bench";
/// Between two changes.
const EVERY: Duration = Duration::from_millis(200);
/// Between two looks for one change.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What a worker may take at most; a process without several is one.
const MOST_MEGABYTES: f64 = 40.0;
/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the deployment under load.
pub async fn measure(scale: &Scale) -> Result<Vec<Row>> {
    let name = "the deployment";
    let Some(programs) = programs() else { return Ok(Vec::new()) };
    let (Some(redis), Some(engine)) = (RedisServer::start(name, &[]), SearchServer::start(name, &[])) else {
        eprintln!("the deployment is not measured");
        return Ok(Vec::new());
    };
    let items = scale.pick(60, 2_000, 10_000);
    let github = Github::start(&Shown { items, ..Shown::default() })?;
    let folder = tempfile::tempdir()?;
    let mut settings = settings(folder.path(), &github.url)?;
    settings.queue.url = redis.url();
    engine.url().clone_into(&mut settings.search.url);
    let workers = [("downloader", settings.downloader.workers), ("indexer", settings.indexer.workers)];
    let system = System::open(settings).await?;
    let place = Place { folder: folder.path(), github: &github.url, redis: &redis.url(), engine: engine.url() };
    let components: Vec<_> = programs.iter().map(|program| Component::start(program, &place)).collect::<Result<_>>()?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    for component in &components {
        component.is_ready(&client).await?;
    }
    let id = system.track().await?;
    system.until_done(id).await?;
    let changes = scale.of(5, 200, 600);
    let times = until_searchable(&client, &github, &components, changes).await?;
    system.until_done(id).await?;
    system.check(id).await?;
    let mut rows = vec![
        Row::new(format!("webhook to searchable, {changes} changes, p50"), times.percentile(0.5), "ms"),
        Row::new(format!("webhook to searchable, {changes} changes, p99"), times.percentile(0.99), "ms")
            .at_most(2_000.0),
    ];
    for component in &components {
        let megabytes = memory::peak_of(component.child.id()) as f64 / 1e6;
        let workers = workers.iter().find(|(name, _)| *name == component.name).map_or(1, |(_, workers)| *workers);
        let what = format!("memory of the {} ({workers} at work) at most, {items} items mirrored", component.name);
        rows.push(Row::new(what, megabytes, "MB").at_most(MOST_MEGABYTES * workers as f64));
    }
    Ok(rows)
}

/// The components beside this program; none, after saying so, where one has not been built.
fn programs() -> Option<Vec<PathBuf>> {
    let own = std::env::current_exe().ok()?;
    let programs = COMPONENTS.map(|name| own.with_file_name(name));
    let missing = programs.iter().find(|program| !program.is_file());
    if let Some(missing) = missing {
        eprintln!("{} has not been built with this program: the deployment is not measured", missing.display());
        return None;
    }
    Some(programs.to_vec())
}

/// Makes changes at a steady rate, and says how long each took to be found.
async fn until_searchable(
    client: &reqwest::Client,
    github: &Github,
    components: &[Component],
    changes: u64,
) -> Result<Times> {
    let url_of = |name: &str| components.iter().find(|one| one.name == name).map(|one| one.url.clone());
    let receiver = url_of("webhook-receiver").context("there is a receiver")?;
    let web = url_of("web").context("there is a web front")?;
    let control = reqwest::Url::parse(&github.url)?.join("/_simulator/")?;
    let way = Webhook::new(format!("{receiver}/webhooks/github/receive"), SECRET);
    client.put(control.join("webhook")?).json(&way).send().await?.error_for_status()?;
    let numbers = client.get(control.join(&format!("truth/{REPOSITORY}"))?).send().await?.text().await?;
    let numbers: Vec<u64> = serde_json::from_str(&numbers)?;
    ensure!(!numbers.is_empty(), "the simulated GitHub shows nothing");
    let mut waiting = JoinSet::new();
    let mut pace = tokio::time::interval(EVERY);
    for nth in 0..changes {
        pace.tick().await;
        let number = numbers[(nth as usize * 7) % numbers.len()];
        let word = format!("quicksilver{nth}");
        let change = Change::Comment { number, body: format!("This mentions {word} once.") };
        let (client, web) = (client.clone(), web.clone());
        let change = client.post(control.join(&format!("change/{REPOSITORY}"))?).json(&change);
        waiting.spawn(async move {
            let begun = Instant::now();
            change.send().await?.error_for_status()?;
            while begun.elapsed() < PATIENCE {
                let found = client.get(format!("{web}/api/v1/search?q={word}&per_page=1")).send().await?.text().await?;
                if serde_json::from_str::<Value>(&found)?["total"] == 1 {
                    return Ok(begun.elapsed());
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            bail!("{word} is never found");
        });
    }
    let mut times = Times::default();
    while let Some(found) = waiting.join_next().await {
        times.add(found??);
    }
    Ok(times)
}

/// Where the components work.
struct Place<'p> {
    folder: &'p Path,
    github: &'p str,
    redis: &'p str,
    engine: &'p str,
}

/// A component at work.
struct Component {
    name: String,
    url: String,
    child: Child,
}

impl Component {
    fn start(program: &Path, place: &Place<'_>) -> Result<Self> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let section = if name == "webhook-receiver" { "WEBHOOK".to_owned() } else { name.to_uppercase() };
        let child = Command::new(program)
            .env_clear()
            .env("HOME", place.folder)
            // As in the image and the units of systemd.
            .env("MALLOC_TRIM_THRESHOLD_", "131072")
            .env("GHARVEST_DATA_DIR", place.folder)
            .env("GITHUB_TOKEN", "simulated-bench")
            .env("GHARVEST_GITHUB__API_URL", place.github)
            .env("GHARVEST_GITHUB__POINTS_PER_MINUTE", "1000000")
            .env("GHARVEST_WEBHOOK__SECRETS", SECRET)
            .env("GHARVEST_QUEUE__URL", place.redis)
            .env("GHARVEST_SEARCH__URL", place.engine)
            .env("GHARVEST_QUEUE__INACTIVITY_DELAY", "0s")
            .env("GHARVEST_ARCHIVE__MIN_FREE_BYTES", "0")
            .env(format!("GHARVEST_{section}__LISTEN"), &address)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self { name, url: format!("http://{address}"), child })
    }

    async fn is_ready(&self, client: &reqwest::Client) -> Result<()> {
        let begun = Instant::now();
        let url = format!("{}/readyz", self.url);
        while !client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            ensure!(begun.elapsed() < PATIENCE, "the {} is never ready", self.name);
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
