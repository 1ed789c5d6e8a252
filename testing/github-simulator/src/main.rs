//! Serves a simulated GitHub to other processes.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
};

use clap::Parser;
use gharvest_github_simulator::{Options, Simulator, World};
use gharvest_model::RepositoryName;

/// Serves a simulated GitHub, prints `READY URL`, and runs until it is stopped.
#[derive(Debug, Parser)]
struct Arguments {
    /// The seed of the generated world.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many items each generated repository has.
    #[arg(long, default_value_t = 2_000)]
    items: u64,
    /// A repository to serve; may be given several times.
    #[arg(long, default_value = "lumen/lumen")]
    repository: Vec<RepositoryName>,
    /// Serves recorded data instead: a folder of issues/N.json and pulls/N.json.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    address: SocketAddr,
    /// Knows no limits, as an Enterprise host.
    #[arg(long)]
    unlimited: bool,
    /// Calls an hour for a token.
    #[arg(long)]
    core_limit: Option<u64>,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let mut options = if arguments.unlimited { Options::unlimited() } else { Options::default() };
    options.address = arguments.address;
    if let Some(limit) = arguments.core_limit {
        options.core_limit = limit;
    }
    let mut repositories = arguments.repository.into_iter();
    let first = repositories.next().expect("there is a default repository");
    let world = match arguments.data {
        Some(folder) => World::recorded(folder, first),
        None => World::generated(arguments.seed, first, arguments.items),
    };
    let world = repositories.fold(world, |world, name| world.and_generated(name, arguments.items));
    let simulator = Simulator::start(world, options)?;
    let mut output = io::stdout().lock();
    writeln!(output, "READY {}", simulator.api_url())?;
    output.flush()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(tokio::signal::ctrl_c())?;
    simulator.shutdown();
    Ok(())
}
