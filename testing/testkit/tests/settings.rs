//! Settings change while processes run: each takes a valid change without ending, and refuses an invalid one by name.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use gharvest_testkit::component;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// A component on a data folder of its own.
struct Running {
    child: Child,
    log: Receiver<String>,
    base: String,
    folder: TempDir,
}

impl Running {
    fn start(name: &str, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), settings);
        let mut command = Command::new(component(name));
        command.arg("--data-dir").arg(folder.path()).env_remove("RUST_LOG");
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, log) = channel();
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                drop(sender.send(line));
            }
        });
        let mut running = Self { child, log, base: String::new(), folder };
        let line = running.said("address=");
        let (_, address) = line.split_once("address=").unwrap();
        running.base = format!("http://{}", address.split_whitespace().next().unwrap());
        running
    }

    /// The first line of the log from here on that has these words.
    fn said(&self, words: &str) -> String {
        let begun = Instant::now();
        let mut before = Vec::new();
        loop {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            match self.log.recv_timeout(left) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => before.push(line),
                Err(error) => panic!("never said {words:?} ({error}):\n{}", before.join("\n")),
            }
        }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("{}{path}", self.base)).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn is_ready(&self) {
        let begun = Instant::now();
        while self.get("/readyz").await.0 != 200 {
            assert!(begun.elapsed() < PATIENCE, "not ready");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn change(&self, settings: &str) {
        write(self.folder.path(), settings);
    }

    /// What is wrong is refused by name and counted, and the process stays ready.
    async fn refuses(&self, settings: &str, sentence: &str) {
        self.change(settings);
        let line = self.said("changed settings are refused");
        assert!(line.contains(sentence), "{line}");
        self.is_ready().await;
        let (_, metrics) = self.get("/metrics").await;
        assert!(metrics.contains("gharvest_settings_refused_total"), "{metrics}");
    }

    fn ends_well(mut self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The settings file, replaced as a whole as editors do; every address is free.
fn write(folder: &Path, settings: &str) {
    let file = folder.join("new.toml");
    let sections = ["web", "webhook", "downloader", "indexer", "seeder"];
    let mut text = settings.to_owned();
    for section in sections.iter().filter(|section| !settings.contains(&format!("[{section}]\n"))) {
        text += &format!("[{section}]\n");
    }
    for section in sections {
        let withdraw = if section == "webhook" { "withdraw = \"0s\"\n" } else { "" };
        text = text.replace(&format!("[{section}]\n"), &format!("[{section}]\nlisten = \"127.0.0.1:0\"\n{withdraw}"));
    }
    fs::write(&file, text).unwrap();
    fs::rename(file, folder.join("gharvest.toml")).unwrap();
}

/// A component that works begins anew with other settings, and goes on with the former where it cannot.
async fn works(name: &str) {
    let running = Running::start(name, "");
    running.is_ready().await;
    running.refuses("[queue]\nmax_attempts = 0\n", "[queue] max_attempts must be at least 1").await;
    running.refuses("[queue]\nmax_attempt = 1\n", "did you mean max_attempts?").await;
    running.refuses("[archive]\nurl = \"file:/dev/null/archive\"\n", "/dev/null/archive").await;

    let queue = running.folder.path().join("other.sqlite");
    assert!(!queue.is_file());
    running.change(&format!("[queue]\nurl = \"sqlite:{}\"\n", queue.display()));
    let line = running.said("settings have changed");
    assert!(line.contains("[queue] url") && !line.contains("other.sqlite"), "names and no values: {line}");
    // It is said before the former work ends, so being ready may still be that of before: the new queue is not.
    until(async || queue.is_file()).await;
    running.is_ready().await;
    running.ends_well();
}

#[tokio::test]
async fn the_downloader_takes_changes() {
    works("downloader").await;
}

#[tokio::test]
async fn the_indexer_takes_changes() {
    works("indexer").await;
}

#[tokio::test]
async fn the_seeder_takes_changes() {
    works("seeder").await;
}

/// The status of a delivery with this signature.
async fn delivered(running: &Running, signature: &str) -> u16 {
    let request = reqwest::Client::new().post(format!("{}/webhooks/github", running.base));
    let request = request.header("x-github-event", "ping").header("x-github-delivery", "d1");
    let request = request.header("content-type", "application/json").header("x-hub-signature-256", signature);
    request.body(r#"{"zen":"x"}"#).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn the_receiver_takes_other_secrets() {
    // Of the body above, by the secrets `first` and `second`.
    let first = "sha256=5723fe32ac89ca532ca2b7b46480f78993fd491e93c1225ede41b0ce19bb277d";
    let second = "sha256=e6da7f38cbfb93d7c820494b9b162d5fdefa3fb5a670417a1afb47790b0a5ae2";
    let running = Running::start("webhook-receiver", "[webhook]\nsecrets = [\"first\"]\n");
    running.is_ready().await;
    assert!(delivered(&running, first).await < 300);
    assert_eq!(delivered(&running, second).await, 403);

    running.refuses("[webhook]\nsecrets = [\"second\"]\nsecrets_of = [\"nonsense\"]\n", "[webhook] secrets_of").await;
    assert!(delivered(&running, first).await < 300, "the former secret stays");

    running.change("[webhook]\nsecrets = [\"second\"]\n");
    let line = running.said("settings have changed");
    assert!(line.contains("[webhook] secrets") && !line.contains("second"), "{line}");
    until(async || delivered(&running, first).await == 403).await;
    assert!(delivered(&running, second).await < 300);
    running.ends_well();
}

#[tokio::test]
async fn the_web_front_takes_other_limits() {
    // The index is made by an indexer, which owns it.
    let indexer = Running::start("indexer", "");
    indexer.is_ready().await;
    let index = format!("[search]\nurl = \"tantivy:{}\"\n", indexer.folder.path().join("index").display());
    let running = Running::start("web", &index);
    running.is_ready().await;
    let search = "/api/v1/search?q=twenty+letters+and+more";
    assert_eq!(running.get(search).await.0, 200);
    running.refuses(&format!("{index}[web]\npage_size = 0\n"), "[web] page_size must be 1 to 100").await;
    running.refuses("[search]\nurl = \"tantivy:/dev/null/index\"\n", "/dev/null/index").await;
    assert_eq!(running.get(search).await.0, 200, "the former index is asked");

    running.change(&format!("{index}[web]\nmax_query_bytes = 10\n"));
    running.said("settings have changed");
    until(async || running.get(search).await.0 == 414).await;
    running.ends_well();
    indexer.ends_well();
}

/// Routes are made anew a moment after the change is said.
async fn until(holds: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "it never holds");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
