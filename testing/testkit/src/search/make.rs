//! Which search servers there are, how each is fetched and how it is started.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::fetched::{fetched, run};

/// Which search server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// The full server, and the judge of analysis.
    OpenSearch2,
    /// The full server, on Java 21 or newer.
    OpenSearch3,
    /// Elastic's own server without its modules; what our mappings need of them is put back.
    Elasticsearch8,
    /// The same, on Java 21 or newer.
    Elasticsearch9,
}

/// The user of a server with security, and its password.
pub const USER: &str = "gharvest";
/// See [`USER`].
pub const PASSWORD: &str = "gharvest-test";
/// `{SHA}` and the digest of [`PASSWORD`], as the server's file of users has it.
const PASSWORD_DIGEST: &str = "{SHA}g/2uWlkl5GfyPGVPKXevZQJ6EAY=";

/// Small and soon warm: servers for tests live for a minute, on the processors that the tests use.
const JAVA_OPTIONS: [&str; 5] =
    ["-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"];

/// Runs a server until standard input ends, or says that the folder is kept. What ends the server is the first argument.
const SHELL: &str = r#"signal=$1 folder=$2; shift 2; "$@" </dev/null 2>>"$folder/log" & server=$!; read -r word
kill "-$signal" $server; wait $server; [ "$word" = keep ] || rm -rf "$folder""#;

/// What must be the same for a build that was made to serve.
const SOURCES: [&str; 3] = [
    include_str!("../../../search-server/pom.xml"),
    include_str!("../../../search-server/src/main/java/gharvest/testing/OpenSearchForTests.java"),
    include_str!("../../../search-server/elasticsearch/AnalysisForTests.java"),
];

impl Make {
    fn version(self) -> &'static str {
        match self {
            Self::OpenSearch2 => "2.19.1.0",
            Self::OpenSearch3 => "3.8.0.0",
            Self::Elasticsearch8 => "8.19.0",
            Self::Elasticsearch9 => "9.1.0",
        }
    }

    /// Whether tests go without it where it cannot be had.
    pub(super) fn is_optional(self) -> bool {
        matches!(self, Self::OpenSearch3 | Self::Elasticsearch9)
    }

    /// The oldest Java that runs it.
    fn java(self) -> u32 {
        match self {
            Self::OpenSearch2 | Self::Elasticsearch8 => 17,
            Self::OpenSearch3 | Self::Elasticsearch9 => 21,
        }
    }

    fn is_elasticsearch(self) -> bool {
        matches!(self, Self::Elasticsearch8 | Self::Elasticsearch9)
    }

    /// The command that runs a server on a folder, with what it is made of fetched the first time. An error says what
    /// is missing.
    pub(super) fn command(self, folder: &Path, security: bool, settings: &[&str]) -> Result<Command, String> {
        let java = java(self.java())?;
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../search-server");
        let mut hasher = DefaultHasher::new();
        SOURCES.hash(&mut hasher);
        let name = format!("{self:?}-{}-{:016x}", self.version(), hasher.finish()).to_lowercase();
        let server = fetched("search", &name, |into| self.fetch(&java, &sources, into))?;
        let mut command = Command::new("sh");
        // Elasticsearch is started by a program that ends once the server has; it could not say so if it were killed.
        let signal = if self.is_elasticsearch() { "TERM" } else { "KILL" };
        command.args(["-c", SHELL, "sh", signal]).arg(folder);
        if self.is_elasticsearch() {
            elasticsearch(&mut command, &java, &self.home(&server), folder, security)?;
        } else {
            opensearch(&mut command, &java, &server, folder);
        }
        for setting in settings {
            command.args(self.is_elasticsearch().then_some("-E")).arg(setting);
        }
        Ok(command)
    }

    /// Where Elasticsearch lies in what was fetched: the plugin unpacks where it would copy.
    fn home(self, fetched: &Path) -> PathBuf {
        fetched.join("jars").join(format!("elasticsearch-{}", self.version()))
    }

    fn fetch(self, java: &Path, sources: &Path, into: &Path) -> Result<(), String> {
        if self.is_elasticsearch() {
            return self.fetch_elasticsearch(java, sources, into);
        }
        let mut maven = maven(java, sources, into);
        maven.arg(format!("-Dopensearch.version={}", self.version()));
        maven.arg(format!("-Dmaven.compiler.release={}", self.java()));
        run(maven.args(["compiler:compile", "dependency:copy-dependencies"]))
    }

    fn fetch_elasticsearch(self, java: &Path, sources: &Path, into: &Path) -> Result<(), String> {
        let version = self.version();
        let mut maven = maven(java, sources, into);
        maven.arg(
            "-Dartifact=org.elasticsearch.distribution.integ-test-zip:elasticsearch:".to_owned() + version + ":zip",
        );
        run(maven.arg("dependency:unpack"))?;
        let home = self.home(into);
        let plugin = home.join("plugins/analysis-for-tests");
        let said = |error: std::io::Error| error.to_string();
        fs::create_dir_all(&plugin).map_err(said)?;
        let descriptor = format!(
            "name=analysis-for-tests\ndescription=-\nversion=1\nclassname=gharvest.testing.AnalysisForTests\njava.version=17\nelasticsearch.version={version}\n"
        );
        fs::write(plugin.join("plugin-descriptor.properties"), descriptor).map_err(said)?;
        let classes = into.join("classes");
        run(Command::new(java.join("bin/javac"))
            .args(["--release", &self.java().to_string(), "-cp"])
            .arg(home.join("lib/*"))
            .arg("-d")
            .arg(&classes)
            .arg(sources.join("elasticsearch/AnalysisForTests.java")))?;
        run(Command::new(java.join("bin/jar"))
            .args(["--create", "--file"])
            .arg(plugin.join("analysis-for-tests.jar"))
            .arg("-C")
            .arg(&classes)
            .arg("."))
    }
}

fn maven(java: &Path, sources: &Path, into: &Path) -> Command {
    let mut maven = Command::new("mvn");
    maven.env("JAVA_HOME", java).args(["--quiet", "--batch-mode", "--file"]).arg(sources.join("pom.xml"));
    maven.arg(format!("-Dinto={}", into.display()));
    maven
}

fn opensearch(command: &mut Command, java: &Path, server: &Path, folder: &Path) {
    let class_path = format!("{}:{}/*", server.join("classes").display(), server.join("jars").display());
    command
        .arg(java.join("bin/java"))
        .args(JAVA_OPTIONS)
        .arg(format!("-Djava.io.tmpdir={}", folder.display()))
        .args(["-cp", &class_path, "gharvest.testing.OpenSearchForTests"])
        .arg(folder);
}

fn elasticsearch(command: &mut Command, java: &Path, home: &Path, folder: &Path, security: bool) -> Result<(), String> {
    configure(home, folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    // It refuses to run as root. In a namespace of users root has another number, and still owns its files.
    if fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        let namespace = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"];
        let allowed = Command::new(namespace[0]).args(&namespace[1..]).arg("true").stderr(Stdio::null()).status();
        if !allowed.is_ok_and(|status| status.success()) {
            return Err(
                "Elasticsearch refuses root, and namespaces of users are forbidden here: use another user".into()
            );
        }
        command.args(namespace);
    }
    command
        .env_remove("JAVA_HOME")
        .env("ES_JAVA_HOME", java)
        .env("ES_PATH_CONF", folder.join("config"))
        .env("ES_TMPDIR", folder.join("tmp"))
        .env("CLI_JAVA_OPTS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
        .arg(home.join("bin/elasticsearch"));
    let place = |name: &str| folder.join(name).display().to_string();
    for (name, value) in [
        ("discovery.type", "single-node".to_owned()),
        ("network.host", "127.0.0.1".to_owned()),
        ("http.port", "0".to_owned()),
        ("transport.port", "0".to_owned()),
        ("path.data", place("data")),
        ("path.logs", place("logs")),
        ("path.repo", place("snapshots")),
        ("cluster.routing.allocation.disk.threshold_enabled", "false".to_owned()),
        ("indices.breaker.total.use_real_memory", "false".to_owned()),
        ("xpack.security.enabled", security.to_string()),
    ] {
        command.arg("-E").arg(format!("{name}={value}"));
    }
    Ok(())
}

/// The server's own settings, our options for Java, and one user who may do everything.
fn configure(home: &Path, folder: &Path) -> std::io::Result<()> {
    let config = folder.join("config");
    fs::create_dir_all(&config)?;
    // Beside the configuration: where a plugin may write, it must not lie.
    fs::create_dir_all(folder.join("tmp"))?;
    for entry in fs::read_dir(home.join("config"))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), config.join(entry.file_name()))?;
        }
    }
    fs::write(
        config.join("jvm.options"),
        format!("{}\n-Djava.io.tmpdir={}\n", JAVA_OPTIONS.join("\n"), folder.join("tmp").display()),
    )?;
    fs::write(config.join("users"), format!("{USER}:{PASSWORD_DIGEST}\n"))?;
    fs::write(config.join("users_roles"), format!("superuser:{USER}\n"))
}

/// The home of a Java that is new enough: `JAVA_HOME`, or one of the usual places.
fn java(oldest: u32) -> Result<PathBuf, String> {
    if Command::new("mvn").arg("--version").stdout(Stdio::null()).status().is_err() {
        return Err("no mvn: install Debian's package maven".into());
    }
    let installed = fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten().map(|entry| entry.path());
    let set = std::env::var_os("JAVA_HOME").map(PathBuf::from);
    let found = set.into_iter().chain(installed).filter_map(|home| Some((java_version(&home)?, home)));
    // The oldest that serves: it is the one that the server was made for.
    let serving = found.filter(|(version, home)| *version >= oldest && home.join("bin/javac").is_file()).min();
    serving.map(|(_, home)| home).ok_or_else(|| {
        format!("no JDK {oldest} or newer in JAVA_HOME or /usr/lib/jvm: install Debian's package openjdk-{oldest}-jdk-headless")
    })
}

/// The first number of the version that a JDK's file `release` names.
fn java_version(home: &Path) -> Option<u32> {
    let release = fs::read_to_string(home.join("release")).ok()?;
    let version = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    version.trim_matches('"').split('.').next()?.parse().ok()
}
