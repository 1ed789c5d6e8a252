//! A person's hand on the queue, whichever backend it has.
//!
//! `gharvest_queue_requests` is what can be asked, `hand` asks it of the backends or over HTTP, `when` reads times as
//! people write them (`3 days ago`), `commands` has one module a group of verbs, `output` prints for people and for
//! programs.

use clap::{CommandFactory, Parser, Subcommand};
use gharvest_service_kit::process::{CommonArgs, Exit};

mod commands;
mod hand;
mod output;
mod when;

use hand::{Hand, Remote};

/// A person's hand on the queue.
#[derive(Debug, Parser)]
#[command(name = "queue-cli", version, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    common: CommonArgs,
    /// Ask a running system at this address instead of opening the queue
    #[arg(long, value_name = "URL", global = true, env = "GHARVEST_SERVER")]
    server: Option<String>,
    /// The API key for --server: `gharvest keys add` makes one
    #[arg(long, value_name = "KEY", global = true, env = "GHARVEST_KEY", hide_env_values = true)]
    key: Option<String>,
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
  queue-cli --server https://gharvest.example.org --key KEY status

Exit codes: 0 done, 1 failed, 2 wrong usage.";

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
    /// Where an item is: on the queues, in the archive, in the ledger, in the search index
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
    let hand = match &arguments.server {
        Some(server) => Hand::There(Remote::new(server, arguments.key.as_deref())?),
        None => Hand::here(&arguments.common.load()?.settings, matches!(arguments.command, Command::Show(_))).await?,
    };
    match arguments.command {
        Command::Add(args) => commands::add::add(&hand, args).await?,
        Command::AddRange(args) => commands::add::add_range(&hand, args).await?,
        Command::AddUpdatedSince(args) => commands::add::add_updated_since(&hand, args).await?,
        Command::Length(args) => commands::status::length(&hand, &args).await?,
        Command::Status(args) => commands::status::status(&hand, &args).await?,
        Command::Show(args) => commands::show::show(&hand, &args).await?,
        Command::Remove(args) => commands::remove::remove(&hand, &args).await?,
        Command::Buried(args) => commands::buried::buried(&hand, args).await?,
        Command::Purge(args) => commands::remove::purge(&hand, &args).await?,
        Command::Pause(args) => commands::pause::pause(&hand, &args).await?,
        Command::Resume(args) => commands::pause::resume(&hand, &args).await?,
        Command::Completions { .. } | Command::Man => {}
    }
    Ok(Exit::Done)
}
