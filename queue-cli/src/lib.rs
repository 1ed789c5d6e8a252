//! A person's hand on the queue, whichever backend it has.
//!
//! `subject` reads what people write (`owner/name#12`, a GitHub address), `commands` has one module a group of verbs,
//! `output` prints for people and for programs.

use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};
use gharvest_archive::Archive;
use gharvest_queue::QueueAdmin;
use gharvest_service_kit::process::{CommonArgs, Exit};

mod commands;
mod output;
mod subject;

/// A person's hand on the queue.
#[derive(Debug, Parser)]
#[command(name = "queue-cli", version, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  queue-cli add download mozilla/web-bugs#91234            or a GitHub URL
  queue-cli add-range download mozilla/web-bugs 1 91234
  queue-cli add index --all                                index everything again from disk
  queue-cli status --watch
  queue-cli show mozilla/web-bugs#91234                    where is this item?
  queue-cli buried list download
  queue-cli pause download --for 1h --reason 'GitHub is down'

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but something differs.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Push jobs
    Add(commands::add::AddArgs),
    /// Push a job for every number of a range
    AddRange(commands::add::AddRangeArgs),
    /// Push a job for everything that was updated since a time
    AddUpdatedSince(commands::add::AddUpdatedSinceArgs),
    /// How many jobs a queue has
    Length(commands::status::LengthArgs),
    /// Jobs by queue, state and lane
    Status(commands::status::StatusArgs),
    /// Where an item is: on the queues, in the archive, in the ledger
    Show(commands::show::ShowArgs),
    /// Remove one job, or those of a range
    Remove(commands::remove::RemoveArgs),
    /// Jobs that failed for good
    Buried(commands::buried::BuriedArgs),
    /// Remove many jobs
    Purge(commands::remove::PurgeArgs),
    /// Hand out nothing for a while
    Pause(commands::pause::PauseArgs),
    /// End a pause
    Resume(commands::pause::ResumeArgs),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// What every verb works on.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) queue: Arc<dyn QueueAdmin>,
    pub(crate) archive: Archive,
}

/// Runs the command.
pub async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    match arguments.command {
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "queue-cli", &mut std::io::stdout());
            return Ok(Exit::Done);
        }
        Command::Man => {
            clap_mangen::Man::new(Arguments::command()).render(&mut std::io::stdout())?;
            return Ok(Exit::Done);
        }
        _ => {}
    }
    let settings = arguments.common.load()?.settings;
    let target = Target {
        queue: gharvest_backends::queue(&settings).await?,
        archive: gharvest_backends::archive(&settings).await?,
    };
    match arguments.command {
        Command::Add(args) => commands::add::add(&target, args).await?,
        Command::AddRange(args) => commands::add::add_range(&target, args).await?,
        Command::AddUpdatedSince(args) => commands::add::add_updated_since(&target, args).await?,
        Command::Length(args) => commands::status::length(&target, &args).await?,
        Command::Status(args) => commands::status::status(&target, &args).await?,
        Command::Show(args) => commands::show::show(&target, &args).await?,
        Command::Remove(args) => commands::remove::remove(&target, &args).await?,
        Command::Buried(args) => commands::buried::buried(&target, args).await?,
        Command::Purge(args) => commands::remove::purge(&target, &args).await?,
        Command::Pause(args) => commands::pause::pause(&target, &args).await?,
        Command::Resume(args) => commands::pause::resume(&target, &args).await?,
        Command::Completions { .. } | Command::Man => {}
    }
    Ok(Exit::Done)
}
