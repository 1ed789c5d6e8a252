//! A real S3-speaking server on loopback, versitygw: one for each test binary, or one of a test's own.

use std::{
    fs::{self, File},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use crate::{redis::free_port, skip};

/// The version that is installed where there is none: the one the suite was checked with.
const PACKAGE: &str = "github.com/versity/versitygw/cmd/versitygw@v1.8.0";
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Starts the server, and ends it with the process that holds the other end of standard input, however that ends.
const SHELL: &str = r#"
folder=$1
shift
"$@" >"$folder/log" 2>&1 &
server=$!
cat >/dev/null
kill $server
wait $server
rm -rf "$folder"
"#;

/// A running server with one empty bucket. It ends when this is dropped, and its folder goes with it.
#[derive(Debug)]
pub struct S3Server {
    child: Child,
    stdin: Option<ChildStdin>,
    port: u16,
    folder: PathBuf,
}

impl S3Server {
    /// The bucket that there is.
    pub const BUCKET: &str = "archive";
    /// The name that it takes (`AWS_ACCESS_KEY_ID`).
    pub const ACCESS_KEY: &str = "gharvest-test";
    /// The secret that it takes (`AWS_SECRET_ACCESS_KEY`).
    pub const SECRET_KEY: &str = "gharvest-test-secret";
    /// The region that it says it is in.
    pub const REGION: &str = "us-east-1";

    /// Starts a server. None, after saying that `test` is skipped, if there is none and Go cannot make one.
    pub fn start(test: &str) -> Option<Self> {
        match program() {
            Ok(program) => Some(Self::spawn(&program)),
            Err(reason) => {
                skip(test, &reason);
                None
            }
        }
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The bucket's folder: an object is a file in it.
    pub fn bucket_folder(&self) -> PathBuf {
        self.folder.join("data").join(Self::BUCKET)
    }

    fn spawn(program: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("gharvest-s3").tempdir().expect("a temporary folder").keep();
        let data = folder.join("data");
        fs::create_dir_all(data.join(Self::BUCKET)).expect("a folder in a temporary folder");
        let port = free_port();
        let mut child = Command::new("sh")
            .args(["-c", SHELL, "sh"])
            .arg(&folder)
            .arg(program)
            .args(["--port", &format!("127.0.0.1:{port}"), "--quiet", "--keep-alive", "posix"])
            .arg(data)
            .env("ROOT_ACCESS_KEY", Self::ACCESS_KEY)
            .env("ROOT_SECRET_KEY", Self::SECRET_KEY)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        let stdin = child.stdin.take();
        let server = Self { child, stdin, port, folder };
        server.wait();
        server
    }

    fn wait(&self) {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if begun.elapsed() > PATIENCE {
                let said = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                panic!("versitygw does not answer: {said}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.child.wait());
    }
}

/// The server of this test binary. None, after saying that `test` is skipped, if there can be none. Tests share it:
/// each takes a prefix of its own.
pub fn s3_server(test: &str) -> Option<&'static S3Server> {
    static SERVER: OnceLock<Result<S3Server, String>> = OnceLock::new();
    match SERVER.get_or_init(|| program().map(|program| S3Server::spawn(&program))) {
        Ok(server) => Some(server),
        Err(reason) => {
            skip(test, reason);
            None
        }
    }
}

/// The server's program: on the path, where Go puts what it installs, or installed there now.
fn program() -> Result<PathBuf, String> {
    let runs = |program: &Path| {
        let answered = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        answered.is_ok_and(|status| status.success())
    };
    let on_path = PathBuf::from("versitygw");
    if runs(&on_path) {
        return Ok(on_path);
    }
    let asked = Command::new("go").args(["env", "GOPATH"]).output();
    let Some(go_path) = asked.ok().filter(|output| output.status.success()) else {
        return Err("no versitygw and no go to install it with".to_owned());
    };
    let folder = PathBuf::from(String::from_utf8_lossy(&go_path.stdout).trim()).join("bin");
    let program = folder.join("versitygw");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    // One process installs it; the others wait and find it.
    let lock = File::create(folder.join(".gharvest-testkit.lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    if runs(&program) {
        return Ok(program);
    }
    // A distribution's Go may be older than the server asks for, and fetches the one it needs.
    let mut go = Command::new("go");
    let installed = go.args(["install", PACKAGE]).env("GOBIN", &folder).env("GOTOOLCHAIN", "auto").output();
    let installed = installed.map_err(|error| error.to_string())?;
    if !installed.status.success() {
        return Err(format!("go cannot install {PACKAGE}: {}", String::from_utf8_lossy(&installed.stderr)));
    }
    Ok(program)
}
