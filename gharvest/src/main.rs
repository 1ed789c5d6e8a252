//! The `gharvest` command: one process with everything, and the operator's commands.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = gharvest::Arguments::parse();
    gharvest_service_kit::process::run(|| gharvest::run(arguments))
}
