//! A real Redis on loopback: an own one for each test binary that asks, or the one that
//! `GHARVEST_TEST_REDIS_URL` names.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::skip;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running `redis-server`; killed when dropped.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl RedisServer {
    /// Starts a server with the append-only file on, and more settings as `--name value` pairs. None, after saying
    /// that `test` is skipped, if there is no `redis-server` here.
    pub fn start(test: &str, settings: &[&str]) -> Option<Self> {
        if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
            skip(test, "no redis-server: install Debian's package redis-server");
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let child = spawn(port, folder.path(), settings);
        let mut server = Self { child, port, folder };
        server.wait();
        Some(server)
    }

    /// `redis://127.0.0.1:PORT/0`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Kills the server as a crash would, and starts it again on the same data.
    pub fn crash_and_restart(&mut self, settings: &[&str]) {
        drop(self.child.kill());
        drop(self.child.wait());
        self.child = spawn(self.port, self.folder.path(), settings);
        self.wait();
    }

    /// Sends one command and gives the raw answer: for faults that a client library would not offer.
    pub fn command(&self, command: &str) -> String {
        ask(self.port, command).expect("Redis answers")
    }

    fn wait(&mut self) {
        let begun = Instant::now();
        while ask(self.port, "PING").is_none_or(|answer| !answer.starts_with("+PONG")) {
            let ended = self.child.try_wait().expect("the server's state can be asked");
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "redis-server does not answer: {ended:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(port: u16, folder: &Path, settings: &[&str]) -> Child {
    let mut command = Command::new("redis-server");
    command.args([
        "--port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
        "--appendonly",
        "yes",
        "--appendfsync",
        "everysec",
    ]);
    command.args(["--save", "", "--maxmemory-policy", "noeviction", "--daemonize", "no", "--dir"]).arg(folder);
    command.args(settings).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server starts")
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}

fn ask(port: u16, command: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer[..length]).into_owned())
}
