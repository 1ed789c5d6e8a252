//! Prints a table of ratios against limits measured in the same run, and fails if one is far from its goal.
#![allow(clippy::print_stdout, reason = "the table is the data")]

use std::{
    io::{Read, Write},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use gharvest_bench::{
    archive, cost, deliveries, deployment, engine, index,
    measure::Scale,
    pipeline, queue, redis, search, system,
    table::{FAILS_BELOW, Row, Verdict, markdown},
};
use serde_json::json;

/// Measures the parts of gharvest beside what this machine can do at best
#[derive(Debug, Parser)]
#[command(
    name = "gharvest-bench",
    after_help = "\
Exit codes: 0 every goal was reached to 70 % at least, 1 one was not or a part failed, 2 wrong usage."
)]
struct Arguments {
    /// What to measure
    #[arg(value_enum, default_value = "all")]
    parts: Vec<Part>,
    /// Rows as JSON
    #[arg(long)]
    json: bool,
    /// Small sizes and no judgement: whether everything works
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// The largest sizes as well: ten million jobs, a million documents, ten minutes of load; takes an hour
    #[arg(long)]
    full: bool,
    /// So many jobs, records, documents or items instead of the part's usual number
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    size: Option<u64>,
    /// Measure here and print the rows: what a run starts for each part, so that memory is each part's own
    #[arg(long, hide = true)]
    here: bool,
    /// Serve a simulated GitHub, given as JSON, until standard input ends
    #[arg(long, hide = true)]
    simulate: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The queue on SQLite
    Queue,
    /// Records and ledgers on disk
    Archive,
    /// Documents into tantivy
    Index,
    /// From a simulated GitHub to searchable
    Pipeline,
    /// Calls and points of GitHub: a mirror, its verification, a change
    Cost,
    /// Queries, suggestions, pages, API
    Search,
    /// The webhook receiver, on SQLite and on Redis
    Deliveries,
    /// The queue on Redis, beside BullMQ
    Redis,
    /// Documents into a search engine
    Engine,
    /// Each component a process, on Redis and a search engine: webhook to searchable, memory
    Deployment,
    /// All of these
    All,
}

impl Part {
    const EACH: [Self; 10] = [
        Self::Queue,
        Self::Archive,
        Self::Index,
        Self::Pipeline,
        Self::Cost,
        Self::Search,
        Self::Deliveries,
        Self::Redis,
        Self::Engine,
        Self::Deployment,
    ];

    fn name(self) -> String {
        self.to_possible_value().expect("no part is hidden").get_name().to_owned()
    }
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(shown) = &arguments.simulate {
        return system::simulate(&serde_json::from_str(shown)?).map(|()| ExitCode::SUCCESS);
    }
    if arguments.here {
        return measure_here(&arguments).map(|()| ExitCode::SUCCESS);
    }
    let parts = if arguments.parts.contains(&Part::All) { Part::EACH.to_vec() } else { arguments.parts.clone() };
    let host = Host::look();
    if !arguments.json {
        println!("{}\n", host.sentence());
    }
    let mut measured = Vec::new();
    for part in parts {
        let rows = measure_in_child(part, &arguments)?;
        if !arguments.json {
            println!("{}", markdown(&part.name(), &rows));
        }
        measured.push((part, rows));
    }
    if arguments.json {
        println!("{:#}", as_json(&host, &arguments, &measured));
    }
    Ok(judge(&arguments, &measured))
}

/// Says which goals were missed. A quick run has no times worth judging.
fn judge(arguments: &Arguments, measured: &[(Part, Vec<Row>)]) -> ExitCode {
    if arguments.quick {
        eprintln!("a quick run: it shows that everything works, its times mean nothing");
        return ExitCode::SUCCESS;
    }
    let rows = measured.iter().flat_map(|(part, rows)| rows.iter().map(|row| (part.name(), row)));
    let failed: Vec<_> = rows.filter(|(_, row)| row.verdict() == Verdict::Failed).collect();
    for (part, row) in &failed {
        eprintln!("{part}: {}: less than {:.0} % of its goal", row.what, FAILS_BELOW * 100.0);
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Measures a part in a process of its own.
fn measure_in_child(part: Part, arguments: &Arguments) -> Result<Vec<Row>> {
    let mut command = Command::new(std::env::current_exe().context("this program's own path")?);
    command.arg("--here").arg(part.name());
    for (flag, set) in [("--quick", arguments.quick), ("--full", arguments.full)] {
        if set {
            command.arg(flag);
        }
    }
    if let Some(size) = arguments.size {
        command.args(["--size", &size.to_string()]);
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting a part")?;
    let mut rows = Vec::new();
    child.stdout.take().context("standard output is a pipe")?.read_to_end(&mut rows)?;
    let status = child.wait()?;
    if !status.success() {
        bail!("{} could not be measured: {status}", part.name());
    }
    serde_json::from_slice(&rows).context("the rows of a part")
}

fn measure_here(arguments: &Arguments) -> Result<()> {
    let &[part] = &arguments.parts[..] else { bail!("one part at a time") };
    let scale = Scale { quick: arguments.quick, full: arguments.full, size: arguments.size };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let rows = runtime.block_on(async {
        match part {
            Part::Queue => queue::measure(&scale).await,
            Part::Archive => archive::measure(&scale).await,
            Part::Index => index::measure(&scale).await,
            Part::Pipeline => pipeline::measure(&scale).await,
            Part::Cost => cost::measure(&scale).await,
            Part::Search => search::measure(&scale).await,
            Part::Deliveries => deliveries::measure(&scale).await,
            Part::Redis => redis::measure(&scale).await,
            Part::Engine => engine::measure(&scale).await,
            Part::Deployment => deployment::measure(&scale).await,
            Part::All => bail!("one part at a time"),
        }
    })?;
    // What still runs in the background is none of the figures' business.
    runtime.shutdown_background();
    std::io::stdout().write_all(&serde_json::to_vec(&rows)?)?;
    Ok(())
}

fn as_json(host: &Host, arguments: &Arguments, measured: &[(Part, Vec<Row>)]) -> serde_json::Value {
    let row = |row: &Row| {
        let mut value = serde_json::to_value(row).expect("a row is plain data");
        value["ratio"] = json!(row.ratio());
        value["verdict"] = if arguments.quick { json!("not_judged") } else { json!(row.verdict()) };
        value
    };
    let parts: serde_json::Map<_, _> =
        measured.iter().map(|(part, rows)| (part.name(), rows.iter().map(row).collect::<Vec<_>>().into())).collect();
    json!({
        "host": { "cores": host.cores, "processor": host.processor, "memory_bytes": host.memory },
        "quick": arguments.quick,
        "optimised": !cfg!(debug_assertions),
        "parts": parts,
    })
}

/// The machine.
struct Host {
    cores: usize,
    processor: String,
    memory: u64,
}

impl Host {
    fn look() -> Self {
        let field = |file: &str, name: &str| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
            line.map(|(_, value)| value.trim().to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal").and_then(|value| value.trim_end_matches(" kB").parse().ok());
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            memory: memory.map_or(0, |kibibytes: u64| kibibytes * 1024),
        }
    }

    fn sentence(&self) -> String {
        let gibibytes = self.memory as f64 / f64::from(1 << 30);
        let build = if cfg!(debug_assertions) { " (not an optimised build)" } else { "" };
        format!("{} cores of {}, {gibibytes:.0} GiB of memory{build}", self.cores, self.processor)
    }
}
