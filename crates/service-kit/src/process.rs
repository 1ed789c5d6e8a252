//! The shell of every process: arguments, settings, signals, listening and the exit code.

use std::{fmt::Display, future::Future, net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    load::{Loaded, Sources},
    settings::LogFormat,
    telemetry, trace,
};

/// Arguments that every binary takes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CommonArgs {
    /// Settings file [default: gharvest.toml in the data folder, if there is one]
    #[arg(long, value_name = "FILE", global = true, env = "GHARVEST_CONFIG")]
    pub config: Option<PathBuf>,
    /// Data folder [default: the platform's]
    #[arg(long, value_name = "FOLDER", global = true, env = "GHARVEST_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// How logs are written to stderr [default: text]
    #[arg(long, value_name = "FORMAT", global = true, env = "GHARVEST_LOG")]
    pub log: Option<LogFormat>,
}

impl CommonArgs {
    /// Reads the settings.
    pub fn load(&self) -> anyhow::Result<Loaded> {
        let mut loaded = Sources::with_process_environment(self.config.clone(), self.data_dir.clone())
            .load()
            .map_err(|error| Usage(error.to_string()))?;
        if let Some(format) = self.log {
            loaded.settings.log.format = format;
        }
        Ok(loaded)
    }

    /// Reads the settings and sets logs up: the first step of every service.
    pub fn start(&self) -> anyhow::Result<Loaded> {
        self.start_with(|_| {})
    }

    /// The same where a person looks on and progress is shown: only what needs them is logged, unless they asked for
    /// more.
    pub fn start_quietly(&self) -> anyhow::Result<Loaded> {
        self.start_with(|loaded| {
            if loaded.settings.log.level == "info" {
                "warn".clone_into(&mut loaded.settings.log.level);
            }
        })
    }

    fn start_with(&self, adjust: impl FnOnce(&mut Loaded)) -> anyhow::Result<Loaded> {
        let mut loaded = self.load()?;
        adjust(&mut loaded);
        let settings = &loaded.settings;
        telemetry::init_logs(settings.log.format, &settings.log.level, Some(&settings.trace))?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        Ok(loaded)
    }
}

/// Wrong usage or settings: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// How a command ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done: 0.
    Done,
    /// Done, but something differs: 3.
    Differs,
}

/// Runs a command to its exit code: 0 done, 1 failed, 2 wrong usage, 3 done but something differs.
///
/// An error is printed once, with its causes, to stderr.
pub fn run<F>(command: impl FnOnce() -> F) -> ExitCode
where
    F: Future<Output = anyhow::Result<Exit>>,
{
    install_crypto();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    let result = runtime.block_on(async {
        let result = command().await;
        trace::flush().await;
        result
    });
    // Blocking tasks that hang (a dead file system) must not keep a finished process alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    match result {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::Differs) => ExitCode::from(3),
        Err(error) if error.downcast_ref::<Usage>().is_some() => fail(&format_args!("{error:#}"), 2),
        Err(error) => fail(&format_args!("{error:#}"), 1),
    }
}

fn fail(error: &dyn Display, code: u8) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(code)
}

/// Several libraries use rustls; it wants to be told which cryptography before the first connection.
fn install_crypto() {
    // An error means that one is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// A token that is cancelled by SIGINT or SIGTERM; a second signal ends the process at once.
pub fn shutdown_on_signals() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if !first {
                std::process::exit(130);
            }
            cancelled.cancel();
        }
    });
    Ok(token)
}

/// Listens; a busy port is said with the next free one, and `where_else` another can be given.
pub async fn listen(address: &str, where_else: &str) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let hint = match next_free(address).await {
                Some(free) => format!("; {free} is free"),
                None => String::new(),
            };
            Err(anyhow::Error::from(Usage(format!("{address} is in use{hint}: give another {where_else}"))))
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on {address}")),
    }
}

async fn next_free(address: &str) -> Option<SocketAddr> {
    let address: SocketAddr = address.parse().ok()?;
    for port in address.port().checked_add(1)?..=address.port().saturating_add(20) {
        let candidate = SocketAddr::new(address.ip(), port);
        if TcpListener::bind(candidate).await.is_ok() {
            return Some(candidate);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busy_port_is_said_with_a_free_one() {
        let busy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = busy.local_addr().unwrap().to_string();
        let error = listen(&address, "in the settings").await.unwrap_err().to_string();
        assert!(error.contains("is in use") && error.ends_with(" is free: give another in the settings"), "{error}");
        let error = listen(&address, "").await.unwrap_err();
        assert!(error.downcast_ref::<Usage>().is_some());
    }
}
