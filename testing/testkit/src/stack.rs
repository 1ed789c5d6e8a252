//! The whole stack without containers: each service of `docker-compose.yml` as a process on loopback, with the settings,
//! the order and the health checks that stand there.
//!
//! What differs: each service that listens has an address of its own on loopback and another port, volumes are folders, the engine is OpenSearch without
//! security (so the keys are stand-ins), and there is no Kibana.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    NameServer, SearchServer, checkout, component, composed,
    nginx::{Nginx, nginx_program},
    redis::{RedisServer, free_port},
};

/// How long a service may take to become healthy, or to end: a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// What is left out: there is no program for it here.
const LEFT_OUT: [&str; 2] = ["kibana", "setup-dashboards"];

/// The running stack. What still runs when this is dropped is killed.
#[derive(Debug)]
pub struct Stack {
    // In this order they are dropped: nobody outlives what it needs.
    nginx: Option<Nginx>,
    processes: Vec<(String, Child)>,
    redis: Option<RedisServer>,
    engine: SearchServer,
    services: Value,
    addresses: BTreeMap<String, String>,
    names: NameServer,
    overrides: Vec<(String, String)>,
    folder: TempDir,
}

impl Stack {
    /// Starts every service in its order and waits until each is healthy. `overrides` are settings that win over those of
    /// the compose file. None, after saying that `test` is skipped, if something that it needs cannot be had here.
    ///
    /// # Panics
    /// If a service cannot start; the text says which, and what it logged.
    pub fn start(test: &str, overrides: &[(&str, &str)]) -> Option<Self> {
        let services = composed(test, &["docker-compose.yml"])?["services"].take();
        let nginx = nginx_program(test)?;
        let engine = SearchServer::start(test, &[])?;
        let overrides = overrides.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut stack = Self {
            nginx: None,
            processes: Vec::new(),
            redis: None,
            addresses: addresses(&services, engine.url()),
            names: NameServer::start(),
            engine,
            services,
            overrides,
            folder,
        };
        for service in order(&stack.services) {
            stack.start_service(test, &service, &nginx)?;
        }
        Some(stack)
    }

    /// Where people reach it: nginx.
    ///
    /// # Panics
    /// If it has been stopped.
    pub fn url(&self) -> String {
        self.nginx.as_ref().expect("the proxy runs").url()
    }

    /// Where the engine is, which needs no key here.
    pub fn engine_url(&self) -> &str {
        self.engine.url()
    }

    /// Where a service of ours listens by itself: `http://127.0.0.1:PORT`. None if it does not.
    pub fn service_url(&self, service: &str) -> Option<String> {
        let prefix = format!("{service}:");
        self.addresses
            .iter()
            .find(|(name, _)| name.starts_with(&prefix))
            .map(|(_, address)| format!("http://{address}"))
    }

    /// The folder that is the volume `data`.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A program as `docker compose run` would run it in this service: with its settings.
    pub fn command(&self, service: &str, program: &str) -> Command {
        self.with_settings(service, Command::new(component(program)))
    }

    fn with_settings(&self, service: &str, mut command: Command) -> Command {
        command.env_clear().env("HOME", self.folder.path()).env("TMPDIR", self.folder.path());
        let environment = self.services[service]["environment"].as_object().into_iter().flatten();
        for (name, value) in environment {
            command.env(name, self.here(service, value.as_str().unwrap_or_default()));
        }
        command.envs(self.overrides.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Makes API keys as the set-up does, also those that the given settings of `scripts/setup-keys` ask for, and says in
    /// which folder they are.
    ///
    /// # Panics
    /// If the script fails.
    pub fn make_keys(&self, settings: &[(&str, &str)]) -> PathBuf {
        let keys = self.folder.path().join("secrets/operator");
        fs::create_dir_all(keys.join("metrics")).expect("a folder in a temporary folder");
        let mut command = self.with_settings("setup-keys", Command::new("bash"));
        let programs = component("gharvest").parent().map(Path::to_owned).unwrap_or_default();
        command.env("PATH", format!("{}:/usr/bin:/bin", programs.display())).env("KEYS", &keys);
        command.arg(checkout().join("scripts/setup-keys")).envs(settings.iter().copied());
        let output = command.output().expect("bash starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        keys
    }

    /// What each of our own services has logged so far.
    pub fn logs(&self) -> Vec<(String, String)> {
        let log = |service: &String| {
            let text = fs::read_to_string(self.folder.path().join(format!("{service}.log"))).unwrap_or_default();
            (service.clone(), text)
        };
        self.processes.iter().map(|(service, _)| service).map(log).collect()
    }

    /// Names of our own services that run.
    pub fn running(&self) -> Vec<&str> {
        self.processes.iter().map(|(service, _)| service.as_str()).collect()
    }

    /// Ids of the processes of our own services and of nginx.
    pub fn processes(&self) -> Vec<u32> {
        let own = self.processes.iter().map(|(_, child)| child.id());
        own.chain(self.nginx.as_ref().map(Nginx::id)).collect()
    }

    /// Asks a service of ours as the health check of the compose file does.
    pub fn is_healthy(&self, service: &str) -> bool {
        let inside = |word: String| {
            self.addresses.iter().fold(word, |word, (name, address)| {
                let own = name.strip_prefix(&format!("{service}:"));
                own.map_or_else(|| word.clone(), |port| word.replace(&format!("127.0.0.1:{port}"), address))
            })
        };
        let test = self
            .words(service, &self.services[service]["healthcheck"]["test"])
            .into_iter()
            .map(inside)
            .collect::<Vec<_>>();
        let ["CMD", program, arguments @ ..] = &test.iter().map(String::as_str).collect::<Vec<_>>()[..] else {
            panic!("{service} has no health check that can be run: {test:?}");
        };
        let mut command = self.command(service, program);
        let status = command.args(arguments).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }

    /// Stops our own services as `docker compose stop` does, the front first, and says how each ended.
    ///
    /// # Panics
    /// If one does not end.
    pub fn stop(&mut self) -> Vec<(String, Option<i32>)> {
        self.nginx = None;
        let mut ended = Vec::new();
        for (service, mut child) in self.processes.drain(..).rev() {
            drop(Command::new("kill").arg(child.id().to_string()).status());
            let begun = Instant::now();
            let status = loop {
                if let Some(status) = child.try_wait().expect("a child can be asked") {
                    break status;
                }
                assert!(begun.elapsed() < PATIENCE, "{service} does not end");
                std::thread::sleep(Duration::from_millis(10));
            };
            ended.push((service, status.code()));
        }
        ended
    }

    fn start_service(&mut self, test: &str, service: &str, nginx: &Path) -> Option<()> {
        match service {
            "setup" => self.set_secrets_up(),
            "setup-engine" => self.stand_in_for_keys(),
            "setup-keys" => drop(self.make_keys(&[])),
            // It runs already.
            "elasticsearch" => {}
            "redis" => {
                let words = self.words(service, &self.services[service]["command"]);
                let settings: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
                let redis = RedisServer::start(test, &settings)?;
                self.addresses.insert("redis:6379".to_owned(), format!("127.0.0.1:{}", redis.port()));
                self.redis = Some(redis);
            }
            "reverse-proxy" => self.nginx = Some(self.start_nginx(nginx)),
            _ => self.start_own(service),
        }
        Some(())
    }

    fn set_secrets_up(&self) {
        let script = checkout().join("scripts/setup-secrets");
        let output = Command::new("bash").arg(script).arg(self.folder.path().join("secrets")).output();
        let output = output.expect("bash starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The engine here gives no keys and asks for none; the settings that name their files stay in force.
    fn stand_in_for_keys(&self) {
        for kind in ["writer", "reader"] {
            let file = self.folder.path().join("secrets").join(kind).join("api.key");
            fs::write(file, "c3RhbmQ6aW4=\n").expect("the set-up made the folder");
        }
    }

    fn start_nginx(&self, program: &Path) -> Nginx {
        for (name, addresses) in self.containers() {
            self.names.set(&name, &addresses);
        }
        let port = |service: &str| self.addresses[service].rsplit(':').next().unwrap_or_default().to_owned();
        let names = [
            ("resolver 127.0.0.11", format!("resolver {}", self.names.address())),
            ("http://web:8080", format!("http://web:{}", port("web:8080"))),
            ("http://webhook-receivers:8081", format!("http://webhook-receivers:{}", port("webhook-receiver:8081"))),
            ("https://elasticsearch:9200", self.addresses["https://elasticsearch:9200"].clone()),
            ("/data/archive", self.data_dir().join("archive").display().to_string()),
            ("/secrets/ca.crt", self.folder.path().join("secrets/reader/ca.crt").display().to_string()),
        ];
        let names: Vec<_> = names.map(|(name, here)| (name.to_owned(), here)).into();
        let folder = self.folder.path().join("nginx");
        fs::create_dir_all(&folder).expect("a folder in a temporary folder");
        open(self.folder.path());
        Nginx::start(program, &folder, &names)
    }

    /// What the engine's name server would say of the network of the proxy: services and their other names.
    fn containers(&self) -> BTreeMap<String, Vec<Ipv4Addr>> {
        let mut containers = BTreeMap::<_, Vec<_>>::new();
        for (name, address) in &self.addresses {
            let (Some((service, _)), Ok(address)) = (name.split_once(':'), address.parse::<SocketAddrV4>()) else {
                continue;
            };
            let others = self.services[service]["networks"]["front"]["aliases"].as_array().into_iter().flatten();
            for name in others.filter_map(Value::as_str).chain([service]) {
                containers.entry(name.to_owned()).or_default().push(*address.ip());
            }
        }
        containers
    }

    fn start_own(&mut self, service: &str) {
        let words = self.words(service, &self.services[service]["entrypoint"]);
        let log = self.folder.path().join(format!("{service}.log"));
        let stderr = fs::File::create(&log).expect("a file in a temporary folder");
        let mut command = self.command(service, &words[0]);
        let child = command.args(&words[1..]).stdout(Stdio::null()).stderr(stderr).spawn().expect("it starts");
        self.processes.push((service.to_owned(), child));
        let begun = Instant::now();
        while !self.is_healthy(service) {
            let (_, child) = self.processes.last_mut().expect("it was just started");
            let ended = child.try_wait().expect("a child can be asked").is_some();
            if ended || begun.elapsed() > PATIENCE {
                panic!("{service} is not healthy: {}", fs::read_to_string(&log).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn words(&self, service: &str, list: &Value) -> Vec<String> {
        let words = list.as_array().into_iter().flatten();
        words.map(|word| self.here(service, word.as_str().unwrap_or_default())).collect()
    }

    /// A text of a service with addresses and folders of this machine.
    fn here(&self, service: &str, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, address) in &self.addresses {
            text = text.replace(name, address);
            if let Some(port) = name.strip_prefix(&format!("{service}:")) {
                text = text.replace(&format!("0.0.0.0:{port}"), address);
            }
        }
        for mount in self.services[service]["volumes"].as_array().into_iter().flatten() {
            let (Some(source), Some(target)) = (mount["source"].as_str(), mount["target"].as_str()) else { continue };
            if mount["type"] == "volume" && text.starts_with(target) {
                let folder = match source.strip_suffix("-secrets") {
                    Some(kind) => self.folder.path().join("secrets").join(kind),
                    None => self.folder.path().join(source),
                };
                text = text.replacen(target, &folder.display().to_string(), 1);
            }
        }
        text
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        for (_, child) in &mut self.processes {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// An address of its own for each service that says on which port it listens, and for each such port a free one; and where
/// the engine is.
fn addresses(services: &Value, engine: &str) -> BTreeMap<String, String> {
    let mut addresses = BTreeMap::from([("https://elasticsearch:9200".to_owned(), engine.to_owned())]);
    let mut ports = BTreeMap::new();
    for ((service, described), host) in services.as_object().into_iter().flatten().zip(2_u8..) {
        for (name, value) in described["environment"].as_object().into_iter().flatten() {
            let port = value.as_str().and_then(|value| value.strip_prefix("0.0.0.0:"));
            if let (true, Some(port)) = (name.ends_with("__LISTEN"), port) {
                let here = *ports.entry(port).or_insert_with(free_port);
                addresses.insert(format!("{service}:{port}"), format!("127.0.0.{host}:{here}"));
            }
        }
    }
    addresses
}

/// The services that start with `up`, each after what it depends on.
fn order(services: &Value) -> Vec<String> {
    let mut ordered = Vec::new();
    for (service, described) in services.as_object().into_iter().flatten() {
        if described["profiles"].is_null() {
            push_after_needed(services, service, &mut ordered);
        }
    }
    ordered
}

fn push_after_needed(services: &Value, service: &str, ordered: &mut Vec<String>) {
    if LEFT_OUT.contains(&service) || ordered.iter().any(|one| one == service) {
        return;
    }
    for (needed, _) in services[service]["depends_on"].as_object().into_iter().flatten() {
        push_after_needed(services, needed, ordered);
    }
    ordered.push(service.to_owned());
}

/// nginx' workers may run as another user.
fn open(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("the folder is ours");
}
