//! `gharvest demo`: a simulated GitHub, a mirror of it, a page to look at; nothing else needed, nothing left behind.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use clap::Args;
use gharvest_downloader::track;
use gharvest_github_simulator::{Options, Simulator, Webhook, World};
use gharvest_model::RepositoryName;
use gharvest_service_kit::{
    Settings,
    load::Sources,
    process::{self, CommonArgs, Exit},
    settings::LogFormat,
    telemetry,
};
use secrecy::SecretString;

use crate::{
    commands::{
        mirror::follow,
        up::{Running, WebArgs},
    },
    output::{grouped, say},
    system::System,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gharvest demo                                        then http://127.0.0.1:8080
  gharvest demo --data backup/o-r --repository o/r     recorded data instead of generated")]
pub(crate) struct DemoArgs {
    /// How many items to generate
    #[arg(long, default_value_t = 2_500, value_parser = clap::value_parser!(u64).range(1..=200_000))]
    items: u64,
    /// Makes another world
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Recorded data instead: a folder that github-metadata-backup wrote
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// The repository's name
    #[arg(long, value_name = "OWNER/NAME", default_value = "orchard/harvester")]
    repository: RepositoryName,
    /// Changes a minute after the mirror is complete; 0 for none
    #[arg(long, default_value_t = 30.0)]
    changes: f64,
    /// Keep the mirror in this folder
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    #[command(flatten)]
    web: WebArgs,
}

/// A token that the simulated GitHub knows; it means nothing elsewhere.
const TOKEN: &str = "simulated-demo";

pub(crate) async fn run(common: &CommonArgs, args: DemoArgs) -> anyhow::Result<Exit> {
    let format = common.log.unwrap_or(LogFormat::Text);
    telemetry::init_logs(format, "warn", None)?;
    let shutdown = process::shutdown_on_signals()?;
    let temporary = tempfile::tempdir().context("no temporary folder")?;
    let folder = args.keep.clone().unwrap_or_else(|| temporary.path().to_owned());

    let simulator = start_simulator(&args)?;
    let secret = random_secret();
    let mut settings = demo_settings(&folder, &simulator.api_url(), &secret)?;
    let listener = args.web.listen(&mut settings).await?;
    let hook_url = listener.as_ref().map(|_| format!("http://{}/webhooks/github", settings.web.listen));
    let system = System::open(settings).await?;
    let tracked = track::track(&system.archive, &system.github, system.queue.as_ref(), &args.repository).await?;
    say(format_args!("a simulated GitHub with {} items of {}", grouped(args.items), tracked.name));
    let running = Running::start(&system, listener, &shutdown).await?;

    let ids = [tracked.id];
    let mirrored = tokio::select! {
        done = follow(&system, &ids, true, &shutdown) => done.map(|_| true)?,
        () = shutdown.cancelled() => false,
    };
    if mirrored {
        let control = simulator.control();
        if let (Some(url), true) = (hook_url, args.changes > 0.0) {
            control.set_webhook(Some(Webhook::new(url, secret)));
            control.live(args.changes);
            say("everything is mirrored and searchable; now things keep happening. Ctrl-C ends it");
        } else {
            say("everything is mirrored and searchable. Ctrl-C ends it");
        }
    }
    let ended = running.until_stopped(&shutdown, None).await;
    drop(simulator);
    match &args.keep {
        Some(folder) => {
            say(format_args!("kept in {}: gharvest --data-dir {} search …", folder.display(), folder.display()))
        }
        None => {
            drop(system);
            remove(temporary).await?;
        }
    }
    ended.map(|()| Exit::Done)
}

/// Removes the folder. Threads of the embedded index that tidy up may still write into it for a moment.
async fn remove(folder: tempfile::TempDir) -> anyhow::Result<()> {
    for _ in 0..50 {
        match std::fs::remove_dir_all(folder.path()) {
            Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error).context("the temporary folder cannot be removed"),
            Ok(()) => return Ok(()),
        }
    }
    folder.close().context("the temporary folder cannot be removed")
}

fn start_simulator(args: &DemoArgs) -> anyhow::Result<Simulator> {
    let world = match &args.data {
        Some(folder) => World::recorded(folder, args.repository.clone()),
        None => World::generated(args.seed, args.repository.clone(), args.items),
    };
    Simulator::start(world, Options::unlimited()).context("the simulated GitHub cannot start")
}

/// Defaults for a GitHub on this machine without limits: as quick as this machine is. Nothing of the person's own
/// settings is read, so a demo cannot touch a real mirror.
fn demo_settings(folder: &std::path::Path, api_url: &str, secret: &str) -> anyhow::Result<Settings> {
    let sources =
        Sources { config: None, data_dir: Some(folder.to_owned()), environment: std::collections::BTreeMap::new() };
    let mut settings = sources.load()?.settings;
    api_url.trim_end_matches('/').clone_into(&mut settings.github.api_url);
    settings.github.tokens = vec![SecretString::from(TOKEN)];
    settings.github.points_per_minute = u32::MAX;
    settings.github.concurrency = 16;
    settings.webhook.secrets = vec![SecretString::from(secret)];
    // No proxy has to notice that it ends.
    settings.webhook.withdraw = Duration::ZERO;
    settings.queue.inactivity_delay = std::time::Duration::from_secs(1);
    settings.queue.max_delay = std::time::Duration::from_secs(5);
    settings.indexer.daily_delay = std::time::Duration::from_secs(2);
    settings.downloader.workers = 8;
    settings.archive.min_free_bytes = 0;
    Ok(settings)
}

fn random_secret() -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(32).collect()
}
