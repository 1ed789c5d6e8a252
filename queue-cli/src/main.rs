//! The `queue-cli` command.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = gharvest_queue_cli::Arguments::parse();
    gharvest_service_kit::process::run(|| gharvest_queue_cli::run(arguments))
}
