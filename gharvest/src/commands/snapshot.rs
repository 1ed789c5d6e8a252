//! `gharvest snapshot create|list|verify|restore|prune|redact|backup|backups|fetch`

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use gharvest_archive::{
    Options, snapshot,
    store::{self, Store},
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
    /// Where snapshots are [default: [seeder] snapshot_folder, else snapshots in the archive's folder]
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
    /// Copy one without anything private, for others to read
    Redact {
        /// The snapshot's file [default: the latest]
        file: Option<PathBuf>,
        /// Where the copy goes: another folder than that of the snapshots
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
    },
    /// Copy one elsewhere; copies there share what they have in common
    Backup {
        /// The snapshot's file [default: the latest]
        file: Option<PathBuf>,
        /// Where copies are: a folder, or s3://BUCKET/PREFIX
        #[arg(long, value_name = "PLACE")]
        to: String,
        /// A file that goes with it, such as exported dashboards
        #[arg(long = "with", value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// List the copies elsewhere, latest first
    Backups {
        /// Where copies are: a folder, or s3://BUCKET/PREFIX
        #[arg(long, value_name = "PLACE")]
        from: String,
        /// Read every object of each and check it
        #[arg(long)]
        verify: bool,
        /// Remove older ones first, never the last good one, as in 90d
        #[arg(long, value_name = "AGE", value_parser = duration::parse)]
        keep: Option<std::time::Duration>,
    },
    /// Make a snapshot of a copy again, to restore it
    Fetch {
        /// The copy's name [default: the latest]
        name: Option<String>,
        /// Where copies are: a folder, or s3://BUCKET/PREFIX
        #[arg(long, value_name = "PLACE")]
        from: String,
    },
}

pub(crate) async fn run(common: &CommonArgs, args: SnapshotArgs) -> anyhow::Result<Exit> {
    let settings = common.load()?.settings;
    let folder = || folder(&settings, args.folder.clone());
    match args.action {
        Action::Create => {
            let archive = gharvest_backends::existing_archive(&settings).await?;
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
        Action::Verify { file } => verify(&given_or_latest(file, folder).await?).await?,
        Action::Restore { file } => restore(&settings, &file).await?,
        Action::Prune { keep } => {
            for removed in snapshot::prune(&folder()?, before(keep)?).await? {
                line(format_args!("removed {}", removed.path.display()));
            }
        }
        Action::Redact { file, to } => {
            let (made, manifest) = snapshot::redact(&given_or_latest(file, folder).await?, &to).await?;
            say(format_args!("{} records, nothing private", grouped(manifest.records)));
            line(made.path.display());
        }
        Action::Backup { file, to, files } => {
            let file = given_or_latest(file, folder).await?;
            let (name, written) = snapshot::backup(&file, &files, &*place(&to).await?).await?;
            say(format_args!("{} objects were new there", grouped(written)));
            line(name);
        }
        Action::Backups { from, verify, keep } => {
            let copies = place(&from).await?;
            if let Some(keep) = keep {
                for name in snapshot::prune_backups(&*copies, before(keep)?).await? {
                    say(format_args!("removed {name}"));
                }
            }
            backups(&*copies, verify).await?;
        }
        Action::Fetch { name, from } => {
            let copies = place(&from).await?;
            let latest = snapshot::backups(&*copies).await?.into_iter().next();
            let name = name.or(latest).with_context(|| format!("there is no backup in {from}"))?;
            let (made, _) = snapshot::fetch(&*copies, &name, &folder()?).await?;
            line(made.path.display());
        }
    }
    Ok(Exit::Done)
}

fn before(keep: std::time::Duration) -> anyhow::Result<Timestamp> {
    Timestamp::now().checked_sub(keep).context("that is too long ago")
}

/// Opens a folder, or a prefix of a bucket.
async fn place(url: &str) -> anyhow::Result<Arc<dyn Store>> {
    let is_url = url.starts_with("file:") || url.starts_with("s3:");
    let url = if is_url { url.to_owned() } else { format!("file:{url}") };
    Ok(store::open(&url, Options::default().stale_after).await?)
}

async fn given_or_latest(
    given: Option<PathBuf>,
    folder: impl Fn() -> anyhow::Result<PathBuf>,
) -> anyhow::Result<PathBuf> {
    match given {
        Some(file) => Ok(file),
        None => {
            let folder = folder()?;
            let latest = snapshot::list(&folder).await?.into_iter().next();
            Ok(latest.with_context(|| format!("there is no snapshot in {}", folder.display()))?.path)
        }
    }
}

async fn backups(copies: &dyn Store, verify: bool) -> anyhow::Result<()> {
    for name in snapshot::backups(copies).await? {
        if verify {
            let backup = snapshot::verify_backup(copies, &name).await?;
            say(format_args!(
                "good: {} records, made {}",
                grouped(backup.snapshot.records),
                backup.snapshot.created_at
            ));
        }
        line(name);
    }
    Ok(())
}

fn folder(settings: &Settings, given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    match given.or_else(|| settings.snapshot_folder()) {
        Some(folder) => Ok(folder),
        None => bail!(Usage("the archive is no folder: say --folder FOLDER for the snapshots".to_owned())),
    }
}

async fn list(folder: &Path, as_json: bool) -> anyhow::Result<()> {
    let found = snapshot::list(folder).await?;
    if as_json {
        return json(&found);
    }
    for snapshot in found {
        line(format_args!("{}\t{}\t{}", snapshot.created_at, bytes(snapshot.bytes), snapshot.path.display()));
    }
    Ok(())
}

async fn verify(file: &Path) -> anyhow::Result<()> {
    let manifest = snapshot::verify(file).await?;
    say(format_args!("good: {} records, made {}", grouped(manifest.records), manifest.created_at));
    Ok(())
}

async fn restore(settings: &Settings, file: &Path) -> anyhow::Result<()> {
    let store = store::open(&settings.archive_url(), Options::default().stale_after).await?;
    let manifest = snapshot::restore(file, &*store).await?;
    say(format_args!("{} records restored; `gharvest rebuild` makes them searchable", grouped(manifest.records)));
    Ok(())
}
