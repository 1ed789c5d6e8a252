//! `gharvest snapshot create|list|verify|restore|prune`

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use gharvest_archive::{
    Options, snapshot,
    store::{folder::FolderStore, object::BucketStore},
};
use gharvest_service_kit::{
    Settings, duration,
    process::{CommonArgs, Exit, Usage},
};
use jiff::Timestamp;

use crate::output::{bytes, grouped, json, line, say};

#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    #[command(subcommand)]
    action: Action,
    /// Where snapshots are [default: snapshots in the archive's folder]
    #[arg(long, value_name = "FOLDER", global = true)]
    folder: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make one while everything goes on, and check it
    Create,
    /// List them, latest first
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Check one, or the latest
    Verify {
        /// The snapshot's file
        file: Option<PathBuf>,
    },
    /// Restore one into an empty archive; `gharvest rebuild` makes the index afterwards
    Restore {
        /// The snapshot's file
        file: PathBuf,
    },
    /// Remove old ones, never the last good one
    Prune {
        /// Keep what is younger, as in 7d
        #[arg(long, default_value = "7d", value_parser = duration::parse)]
        keep: std::time::Duration,
    },
}

pub(crate) async fn run(common: &CommonArgs, args: SnapshotArgs) -> anyhow::Result<Exit> {
    let settings = common.load()?.settings;
    let folder = || folder(&settings, args.folder.clone());
    match args.action {
        Action::Create => {
            let archive = gharvest_backends::archive(&settings).await?;
            let (made, manifest) = archive.snapshot(&folder()?).await?;
            say(format_args!(
                "{} records in {} objects, {} of {}",
                grouped(manifest.records),
                grouped(manifest.objects.len() as u64),
                bytes(made.bytes),
                bytes(manifest.bytes)
            ));
            line(made.path.display());
        }
        Action::List { json: as_json } => list(&folder()?, as_json).await?,
        Action::Verify { file } => verify(file, &folder()?).await?,
        Action::Restore { file } => restore(&settings, &file).await?,
        Action::Prune { keep } => {
            let oldest = Timestamp::now().checked_sub(keep).context("that is too long ago")?;
            for removed in snapshot::prune(&folder()?, oldest).await? {
                line(format_args!("removed {}", removed.path.display()));
            }
        }
    }
    Ok(Exit::Done)
}

fn folder(settings: &Settings, given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    match (given, settings.archive_url().strip_prefix("file:")) {
        (Some(folder), _) => Ok(folder),
        (None, Some(archive)) => Ok(PathBuf::from(archive).join("snapshots")),
        (None, None) => bail!(Usage("the archive is no folder: say --folder FOLDER for the snapshots".to_owned())),
    }
}

async fn list(folder: &std::path::Path, as_json: bool) -> anyhow::Result<()> {
    let found = snapshot::list(folder).await?;
    if as_json {
        return json(&found);
    }
    for snapshot in found {
        line(format_args!("{}\t{}\t{}", snapshot.created_at, bytes(snapshot.bytes), snapshot.path.display()));
    }
    Ok(())
}

async fn verify(file: Option<PathBuf>, folder: &std::path::Path) -> anyhow::Result<()> {
    let file = match file {
        Some(file) => file,
        None => {
            let latest = snapshot::list(folder).await?.into_iter().next();
            latest.with_context(|| format!("there is no snapshot in {}", folder.display()))?.path
        }
    };
    let manifest = snapshot::verify(&file).await?;
    say(format_args!("good: {} records, made {}", grouped(manifest.records), manifest.created_at));
    Ok(())
}

async fn restore(settings: &Settings, file: &std::path::Path) -> anyhow::Result<()> {
    let url = settings.archive_url();
    let manifest = match url.strip_prefix("file:") {
        Some(folder) => {
            let store = FolderStore::open(std::path::Path::new(folder), Options::default().stale_after).await?;
            snapshot::restore(file, &store).await?
        }
        None => snapshot::restore(file, &BucketStore::open(&url)?).await?,
    };
    say(format_args!("{} records restored; `gharvest rebuild` makes them searchable", grouped(manifest.records)));
    Ok(())
}
