//! `gharvest import FOLDER --repository OWNER/NAME`: fills the archive without any API call.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use gharvest_model::{Lane, QueueName, RepositoryName, Subject, job::part};
use gharvest_queue::{Timing, Trigger};
use gharvest_service_kit::process::{CommonArgs, Exit};

use crate::{
    output::{grouped, say},
    progress::Progress,
};

#[derive(Debug, Args)]
#[command(after_help = "Example: gharvest import backup/bitcoin-core-secp256k1 --repository bitcoin-core/secp256k1")]
pub(crate) struct ImportArgs {
    /// A folder that github-metadata-backup wrote: issues/N.json and pulls/N.json
    folder: PathBuf,
    /// The repository it is of
    #[arg(long, value_name = "OWNER/NAME")]
    repository: RepositoryName,
}

pub(crate) async fn run(common: &CommonArgs, args: ImportArgs) -> anyhow::Result<Exit> {
    let settings = common.load()?.settings;
    let archive = gharvest_backends::archive(&settings).await?;
    let queue = gharvest_backends::queue(&settings).await?;
    let id = match archive.resolve(&args.repository).await? {
        Some(id) => id,
        None => gharvest_archive::import::detect_repository_id(&args.folder)
            .await
            .with_context(|| format!("the repository's id cannot be found in `{}`", args.folder.display()))?,
    };
    let progress = std::sync::Mutex::new(Progress::new("files"));
    let report = archive
        .import_folder(&args.folder, &args.repository, id, &|at| {
            progress.lock().expect("showing progress does not panic").set(at.done, at.total, "");
        })
        .await?;
    progress.lock().expect("showing progress does not panic").finish();
    for number in &report.imported {
        let trigger = Trigger {
            queue: QueueName::Index,
            subject: Subject::item(id, *number),
            lane: Lane::Backfill,
            timing: Timing::WhenFree,
            reason: "import".to_owned(),
        };
        queue.push(&[trigger], None).await?;
    }
    let daily = Trigger {
        queue: QueueName::Index,
        subject: Subject::part(id, part::DAILY),
        lane: Lane::Backfill,
        timing: Timing::WhenFree,
        reason: "import".to_owned(),
    };
    queue.push(&[daily], None).await?;
    for (file, why) in &report.problems {
        say(format_args!("skipped {}: {why}", file.display()));
    }
    say(format_args!(
        "{} imported, {} kept because they were newer, {} files skipped; `gharvest up` or `gharvest rebuild` makes them searchable",
        grouped(report.imported.len() as u64),
        grouped(report.kept),
        grouped(report.problems.len() as u64),
    ));
    Ok(Exit::Done)
}
