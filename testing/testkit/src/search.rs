//! Real search servers on loopback: one of each make for each test binary, or the engine that
//! `GHARVEST_TEST_SEARCH_URL` names, or one of a test's own.
//!
//! They are fetched by Maven as `testing/search-server` says the first time, and kept in the target folder.

mod make;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{OnceLock, mpsc},
    time::Duration,
};

pub use make::{Make, PASSWORD, USER};

use crate::skip;

/// How long a server may take to answer; a busy machine needs a minute.
const PATIENCE: Duration = Duration::from_secs(180);
/// A server's data takes less.
const ROOM: u64 = 3 << 30;

/// A running server. It ends when this is dropped, and with the process that holds it, however that ends.
#[derive(Debug)]
pub struct SearchServer {
    make: Make,
    shell: Child,
    url: String,
    folder: PathBuf,
}

impl SearchServer {
    /// Starts an OpenSearch of one's own, with more settings as `name=value`. None, after saying that `test` is skipped,
    /// if it cannot be had.
    pub fn start(test: &str, settings: &[&str]) -> Option<Self> {
        Self::started(test, Self::launch(Make::OpenSearch2, false, settings))
    }

    /// Starts an Elasticsearch that asks for credentials: those of [`USER`], who may do everything, and whatever API
    /// keys that user makes. None, after saying that `test` is skipped, if it cannot be had.
    pub fn start_secure(test: &str) -> Option<Self> {
        Self::started(test, Self::launch(Make::Elasticsearch8, true, &[]))
    }

    fn started(test: &str, launched: Result<Self, String>) -> Option<Self> {
        launched.map_err(|reason| skip(test, &reason)).ok()
    }

    fn launch(make: Make, security: bool, settings: &[&str]) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("gharvest-search").tempdir_in(place());
        let folder = folder.map_err(|error| format!("no temporary folder: {error}"))?.keep();
        match spawn(make, &folder, security, settings) {
            Ok((shell, port)) => Ok(Self { make, shell, url: format!("http://127.0.0.1:{port}"), folder }),
            Err(reason) => {
                drop(fs::remove_dir_all(&folder));
                Err(reason)
            }
        }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Kills the server as a crash would, and starts it again on the same data and port.
    ///
    /// # Panics
    /// If it does not come back.
    pub fn crash_and_restart(&mut self) {
        if let Some(mut stdin) = self.shell.stdin.take() {
            drop(stdin.write_all(b"keep\n"));
        }
        drop(self.shell.wait());
        let port = self.url.rsplit_once(':').expect("an address has a port").1;
        let (shell, _) = spawn(self.make, &self.folder, false, &[&format!("http.port={port}")]).expect("it ran before");
        self.shell = shell;
    }
}

impl Drop for SearchServer {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        drop(self.shell.wait());
    }
}

/// Where servers keep their data: in memory if it has room, as nothing of theirs outlives the test.
fn place() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let roomy = rustix::fs::statvfs(memory).is_ok_and(|at| {
        at.f_bavail.saturating_mul(at.f_frsize) > ROOM && !at.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC)
    });
    if roomy { memory.to_owned() } else { std::env::temp_dir() }
}

/// Starts a server on a folder; it, and the port on which it answers. An error says what is missing.
///
/// # Panics
/// If everything is there and the server does not start.
fn spawn(make: Make, folder: &Path, security: bool, settings: &[&str]) -> Result<(Child, u16), String> {
    let mut command = make.command(folder, security, settings)?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut shell = command.spawn().map_err(|error| format!("no sh: {error}"))?;
    match wait_for_port(shell.stdout.take().expect("standard output is a pipe")) {
        Ok(port) => Ok((shell, port)),
        Err(said) => {
            let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
            drop(shell.stdin.take());
            drop(shell.wait());
            panic!("{make:?} does not start: {said}\n{log}")
        }
    }
}

/// The server of this test binary, or the one that `GHARVEST_TEST_SEARCH_URL` names: its address. None, after saying that
/// `test` is skipped, if there can be none. Tests share it: each takes index names of its own.
pub fn search_server(test: &str) -> Option<String> {
    if let Ok(url) = std::env::var("GHARVEST_TEST_SEARCH_URL") {
        return Some(url);
    }
    search_server_of(test, Make::OpenSearch2)
}

/// The same of a make, whatever the environment names. A make that needs a newer Java than Debian's is a named skip
/// even in CI.
pub fn search_server_of(test: &str, make: Make) -> Option<String> {
    static SERVERS: [OnceLock<Result<SearchServer, String>>; 4] = [const { OnceLock::new() }; 4];
    match SERVERS[make as usize].get_or_init(|| SearchServer::launch(make, false, &[])) {
        Ok(server) => Some(server.url.clone()),
        Err(reason) if make.is_optional() => {
            skip::say(test, reason);
            None
        }
        Err(reason) => {
            skip(test, reason);
            None
        }
    }
}

/// The port that the server says it listens on, or all it said. What it says later is read and forgotten, so that it
/// never waits.
fn wait_for_port(stdout: impl Read + Send + 'static) -> Result<u16, String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut said = String::new();
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some(port) = port(&line) {
                drop(sender.send(Ok(port)));
            }
            // Elasticsearch says much, and what matters at the end.
            if said.len() > 100_000 {
                said.clear();
            }
            said += &line;
            said.push('\n');
        }
        drop(sender.send(Err(said)));
    });
    receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
}

/// What our own program says, and the line of Elasticsearch's log.
fn port(line: &str) -> Option<u16> {
    if let Some(port) = line.strip_prefix("LISTENING ") {
        return port.trim().parse().ok();
    }
    let (_, address) = line.split_once("HttpServerTransport")?.1.split_once("publish_address {127.0.0.1:")?;
    address.split_once('}')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_what_servers_say() {
        assert_eq!(port("LISTENING 9201"), Some(9201));
        let log = "[2026-11-21T12:00:00,000][INFO ][o.e.h.AbstractHttpServerTransport] [node] publish_address {127.0.0.1:40001}, bound_addresses {127.0.0.1:40001}";
        assert_eq!(port(log), Some(40001));
        let transport = "[INFO ][o.e.t.TransportService   ] [node] publish_address {127.0.0.1:40002}";
        assert_eq!(port(transport), None);
    }
}
