//! One process with everything, on embedded defaults; and the operator's commands.
//!
//! `system` opens the backends and runs the components; `commands` has one module a command; `progress` shows long
//! work to people.

use clap::{Parser, Subcommand};
use gharvest_service_kit::process::{CommonArgs, Exit};

mod commands;
#[cfg(feature = "failpoints")]
mod kill;
mod output;
mod progress;
mod system;

/// A self-hosted mirror of GitHub's issues and pull requests.
#[derive(Debug, Parser)]
#[command(name = "gharvest", version, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  gharvest demo                              a simulated GitHub, a mirror of it, a page to look at
  gharvest mirror rust-lang/log              mirror a repository, then follow its changes
  gharvest search 'is:open label:bug crash'  search what is mirrored
  gharvest show rust-lang/log#12             read a thread

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but something differs.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Try it without a network: a simulated GitHub, a mirror of it, a page to look at
    #[cfg(feature = "demo")]
    Demo(commands::demo::DemoArgs),
    /// Mirror repositories, then follow their changes
    Mirror(commands::mirror::MirrorArgs),
    /// Run all components in one process
    Up(commands::up::UpArgs),
    /// Track repositories: `up` fetches them and follows their changes
    Track(commands::track::TrackArgs),
    /// Stop tracking a repository
    Untrack(commands::track::UntrackArgs),
    /// What is mirrored, what waits, what failed
    Status(commands::status::StatusArgs),
    /// What of a repository is accounted for, and what is not
    Audit(commands::audit::AuditArgs),
    /// What becomes of items that GitHub no longer shows, and what was taken out so far
    Deletions(commands::deletions::DeletionsArgs),
    /// Search what is mirrored
    Search(commands::search::SearchArgs),
    /// Read a thread
    Show(commands::show::ShowArgs),
    /// Fill the archive from a github-metadata-backup folder
    Import(commands::import::ImportArgs),
    /// Make the index anew from the archive while the old one serves
    Rebuild(commands::rebuild::RebuildArgs),
    /// Compare every document of the index with its record
    Verify(commands::verify::VerifyArgs),
    /// What runs when, how it went; and have it run now
    Schedules(commands::schedules::SchedulesArgs),
    /// Make, list and revoke API keys
    Keys(commands::keys::KeysArgs),
    /// Make, list, check, restore and remove snapshots of the archive
    Snapshot(commands::snapshot::SnapshotArgs),
    /// Print the settings in force, secrets left out
    Settings,
    /// Ask a component of this machine whether it is well; containers are checked so
    Healthcheck(commands::healthcheck::HealthcheckArgs),
    /// Say what is wrong with this set-up and what to do
    Doctor(commands::doctor::DoctorArgs),
}

/// Runs the command.
pub async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    #[cfg(feature = "failpoints")]
    kill::arm()?;
    let common = &arguments.common;
    match arguments.command {
        #[cfg(feature = "demo")]
        Command::Demo(args) => commands::demo::run(common, args).await,
        Command::Mirror(args) => commands::mirror::run(common, args).await,
        Command::Up(args) => commands::up::run(common, args).await,
        Command::Track(args) => commands::track::track(common, args).await,
        Command::Untrack(args) => commands::track::untrack(common, args).await,
        Command::Status(args) => commands::status::run(common, args).await,
        Command::Audit(args) => commands::audit::run(common, args).await,
        Command::Deletions(args) => commands::deletions::run(common, args).await,
        Command::Search(args) => commands::search::run(common, args).await,
        Command::Show(args) => commands::show::run(common, args).await,
        Command::Import(args) => commands::import::run(common, args).await,
        Command::Rebuild(args) => commands::rebuild::run(common, args).await,
        Command::Verify(args) => commands::verify::run(common, args).await,
        Command::Schedules(args) => commands::schedules::run(common, args).await,
        Command::Keys(args) => commands::keys::run(common, args).await,
        Command::Snapshot(args) => commands::snapshot::run(common, args).await,
        Command::Settings => commands::settings::run(common),
        Command::Healthcheck(args) => commands::healthcheck::run(args).await,
        Command::Doctor(args) => commands::doctor::run(common, args).await,
    }
}
