//! A real OpenSearch on loopback: one for each test binary, or the engine that `GHARVEST_TEST_SEARCH_URL` names.
//!
//! The server is built by Maven from `testing/search-server` the first time, and kept in the target folder.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{OnceLock, mpsc},
    time::Duration,
};

use tempfile::TempDir;

use crate::skip;

/// How long a server may take to answer; a busy machine needs a minute.
const PATIENCE: Duration = Duration::from_secs(180);

/// A running server. It ends when this is dropped, and with the process that holds it, however that ends.
#[derive(Debug)]
pub struct SearchServer {
    child: Child,
    stdin: Option<ChildStdin>,
    url: String,
    folder: TempDir,
}

impl SearchServer {
    /// Starts a server of one's own, with more settings as `name=value`. None, after saying that `test` is skipped, if
    /// Java or Maven is missing.
    pub fn start(test: &str, settings: &[&str]) -> Option<Self> {
        for (program, package) in [("java", "openjdk-17-jdk-headless"), ("mvn", "maven")] {
            if Command::new(program).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
                skip(test, &format!("no {program}: install Debian's package {package}"));
                return None;
            }
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (mut child, port) = spawn(&built(), folder.path(), settings);
        let stdin = child.stdin.take();
        Some(Self { child, stdin, url: format!("http://127.0.0.1:{port}"), folder })
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Kills the server as a crash would, and starts it again on the same data and port.
    pub fn crash_and_restart(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        let port = self.url.rsplit_once(':').expect("an address has a port").1;
        let (child, _) = spawn(&built(), self.folder.path(), &[&format!("http.port={port}")]);
        self.child = child;
        self.stdin = self.child.stdin.take();
    }
}

/// Starts a server on a folder; it, and the port on which it answers.
fn spawn(built: &Path, folder: &Path, settings: &[&str]) -> (Child, u16) {
    let class_path = format!("{}:{}/*", built.join("classes").display(), built.join("jars").display());
    let log = File::create(folder.join("log")).expect("a file in a temporary folder");
    let mut child = Command::new("java")
        .args(["-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:-UsePerfData"])
        .arg(format!("-Djava.io.tmpdir={}", folder.display()))
        .args(["-cp", &class_path, "gharvest.testing.OpenSearchForTests"])
        .arg(folder)
        .args(settings)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("java starts");
    let stdout = child.stdout.take().expect("standard output is a pipe");
    let port = wait_for_port(stdout).unwrap_or_else(|| {
        drop(child.kill());
        let said = fs::read_to_string(folder.join("log")).unwrap_or_default();
        panic!("OpenSearch does not start: {said}")
    });
    (child, port)
}

impl Drop for SearchServer {
    fn drop(&mut self) {
        // It stops when its standard input ends, and is not asked whether it can.
        drop(self.stdin.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The server of this test binary, or the one that `GHARVEST_TEST_SEARCH_URL` names: its address. None, after saying that
/// `test` is skipped, if there can be none. Tests share it: each takes index names of its own.
pub fn search_server(test: &str) -> Option<String> {
    static SERVER: OnceLock<Option<SearchServer>> = OnceLock::new();
    if let Ok(url) = std::env::var("GHARVEST_TEST_SEARCH_URL") {
        return Some(url);
    }
    let server = SERVER.get_or_init(|| SearchServer::start(test, &[]));
    if server.is_none() {
        skip(test, "there is no search server");
    }
    server.as_ref().map(|server| server.url.clone())
}

/// The port that the server says it listens on. The rest of what it says is read and forgotten, so that it never waits.
fn wait_for_port(stdout: impl Read + Send + 'static) -> Option<u16> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let port = line.strip_prefix("LISTENING ").and_then(|port| port.trim().parse().ok());
            if port.is_some_and(|port| sender.send(port).is_err()) {
                break;
            }
        }
    });
    receiver.recv_timeout(PATIENCE).ok()
}

/// The folder with the server's classes and jars, made the first time by one process.
fn built() -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../search-server");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| sources.join("../../target"), PathBuf::from);
    let folder = target.join("search-server");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    let lock = File::create(folder.join("lock")).expect("the target folder can be written");
    lock.lock().expect("a file can be locked");
    let done = folder.join("done");
    if fs::read(&done).ok() != Some(fingerprint(&sources)) {
        let output = Command::new("mvn")
            .args(["--quiet", "--batch-mode", "--file"])
            .arg(sources.join("pom.xml"))
            .arg(format!("-Dinto={}", folder.canonicalize().expect("a folder just made").display()))
            .args(["compiler:compile", "dependency:copy-dependencies"])
            .output()
            .expect("mvn starts");
        assert!(output.status.success(), "Maven cannot build the server: {}", String::from_utf8_lossy(&output.stdout));
        fs::write(&done, fingerprint(&sources)).expect("the target folder can be written");
    }
    folder
}

/// What the build depends on.
fn fingerprint(sources: &Path) -> Vec<u8> {
    let files = ["pom.xml", "src/main/java/gharvest/testing/OpenSearchForTests.java"];
    files.iter().flat_map(|file| fs::read(sources.join(file)).expect("a file of the checkout")).collect()
}
