//! A simulated GitHub, a data folder, and the program between them.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use gharvest_archive::Archive;
use gharvest_github_simulator::{Control, Options, Simulator, Truth, World};
use gharvest_model::{
    ItemId, Record, RepositoryId, RepositoryName,
    change::same_content,
    ledger::NumberState,
    record::{Origin, RecordState},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStderr, Command},
};

/// The repository that is mirrored, its later name, and where items are transferred to.
pub(crate) const MIRRORED: &str = "lumen/lumen";
pub(crate) const RENAMED: &str = "lumen/lantern";
pub(crate) const OTHER: &str = "lumen/archive";
/// The secret of webhooks, and the token: neither may be shown.
pub(crate) const SECRET: &str = "a-secret-of-webhooks";
pub(crate) const TOKEN: &str = "simulated-token-of-tests";

/// Nothing that a test waits for takes this long, in a debug build on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);
/// A whole repository takes longer than a single command.
pub(crate) const MIRRORED_WITHIN: Duration = Duration::from_secs(600);
/// How often a condition in another process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(crate) struct Scene {
    pub(crate) control: Control,
    pub(crate) id: RepositoryId,
    called: RepositoryName,
    simulator: Simulator,
    folder: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Scene {
    /// A GitHub of [`MIRRORED`] with this many items, and an empty data folder.
    pub(crate) fn new(items: u64) -> Self {
        Self::of(World::generated(1, name(MIRRORED), items).and_generated(name(OTHER), 12), MIRRORED)
    }

    /// A GitHub with this world, of which one repository is mirrored, and an empty data folder.
    pub(crate) fn of(world: World, called: &str) -> Self {
        let called = name(called);
        let simulator = Simulator::start(world, Options::unlimited()).unwrap();
        let control = simulator.control();
        let id = RepositoryId(control.repository_id(&called).unwrap());
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("tmp")).unwrap();
        Self { control, id, called, simulator, folder }
    }

    /// The name of the mirrored repository when the world began.
    pub(crate) fn called(&self) -> RepositoryName {
        self.called.clone()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// Where the program makes its temporary files.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.folder().join("tmp")
    }

    pub(crate) fn record_path(&self, number: u64) -> PathBuf {
        self.data_dir().join(format!("archive/repositories/{}/items/{number}.json", self.id))
    }

    /// The program, with nothing of the caller's environment but what is set here.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.program(env!("CARGO_BIN_EXE_gharvest"), args)
    }

    /// Any of the programs, in the same surroundings.
    pub(crate) fn program(&self, program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .env("HOME", self.folder())
            .env("TMPDIR", self.temporary())
            .env("GHARVEST_DATA_DIR", self.data_dir())
            .env("GITHUB_TOKEN", TOKEN)
            .env("GHARVEST_GITHUB__API_URL", self.simulator.api_url())
            .env("GHARVEST_GITHUB__POINTS_PER_MINUTE", "1000000")
            .env("GHARVEST_WEBHOOK__SECRETS", SECRET)
            .env("GHARVEST_QUEUE__INACTIVITY_DELAY", "0s")
            .env("GHARVEST_QUEUE__RETRY_SHORTEST", "200ms")
            .env("GHARVEST_ARCHIVE__MIN_FREE_BYTES", "0")
            .env("GHARVEST_INDEXER__LINGER", "50ms")
            .env("GHARVEST_INDEXER__DAILY_DELAY", "1s")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs the program to its end.
    pub(crate) async fn run(&self, args: &[&str]) -> Finished {
        finish(self.command(args)).await
    }

    /// Runs the program to its end, which has to be a good one.
    pub(crate) async fn done(&self, args: &[&str]) -> Finished {
        let finished = self.run(args).await;
        assert_eq!(finished.code, Some(0), "{args:?}: {finished:?}");
        finished
    }

    /// Runs a command that prints one JSON value.
    pub(crate) async fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.done(args).await.stdout).unwrap()
    }

    /// How many items a query finds.
    pub(crate) async fn total(&self, query: &str) -> u64 {
        self.json(&["search", "--json", query]).await["total"].as_u64().unwrap()
    }

    /// Where the simulated GitHub is.
    pub(crate) fn api_url(&self) -> String {
        self.simulator.api_url()
    }

    /// How many requests GitHub answered.
    pub(crate) fn requests(&self) -> u64 {
        self.control.requests().values().sum()
    }

    /// Everything in which archive and ledger differ from what GitHub shows under this name of the repository.
    pub(crate) async fn differences(&self, called: &str) -> Vec<String> {
        let url = format!("file:{}", self.data_dir().join("archive").display());
        let archive = Archive::open(&url, &gharvest_archive::Options::default()).await.unwrap();
        let Some(repository) = archive.repository(self.id).await.unwrap() else {
            return vec!["no repository".to_owned()];
        };
        let called = name(called);
        let mut differences = Vec::new();
        if repository.full_name != called {
            differences.push(format!("it is called {}", repository.full_name));
        }
        let ledger = archive.ledger(self.id).await.unwrap();
        for number in 1..=self.control.highest_number(&called) {
            let truth = self.control.truth(&called, number).unwrap();
            let record = archive.record(ItemId { repository: self.id, number }).await.unwrap();
            let told = difference(&truth, record.as_ref(), ledger.get(number).state);
            differences.extend(told.map(|told| format!("#{number}: {told}")));
        }
        differences
    }

    /// The issue objects that GitHub shows.
    pub(crate) fn issues(&self, called: &str) -> Vec<Value> {
        let called = name(called);
        let numbers = self.control.truth_numbers(&called).into_iter();
        numbers
            .map(|number| match self.control.truth(&called, number) {
                Some(Truth::Present { issue, .. }) => issue,
                other => panic!("#{number}: {other:?}"),
            })
            .collect()
    }
}

fn difference(truth: &Truth, record: Option<&Record>, ledger: NumberState) -> Option<String> {
    let wrong_unless = |fits: bool| (!fits).then(|| format!("ledger {ledger:?}, GitHub {truth:.40?}"));
    match truth {
        Truth::Present { .. } => match record {
            None => Some("no record".to_owned()),
            Some(record) if record.state != RecordState::Present => Some(format!("{:?}", record.state)),
            Some(record) => {
                let parts = differing_parts(record, truth);
                if parts.is_empty() { wrong_unless(ledger == NumberState::Present) } else { Some(parts.join("; ")) }
            }
        },
        Truth::Deleted => wrong_unless(ledger == NumberState::Deleted),
        Truth::Hidden | Truth::NotAnItem => {
            wrong_unless(matches!(ledger, NumberState::Hidden | NumberState::NotAnItem))
        }
        Truth::Transferred { .. } => wrong_unless(ledger == NumberState::Transferred),
        Truth::Unused => None,
    }
}

/// What of a record is not what GitHub shows. Addresses carry the repository's name, and a new name is no change of every
/// thread: it is taken for the old one.
fn differing_parts(record: &Record, truth: &Truth) -> Vec<String> {
    let old_name = |text: String| text.replace(RENAMED, MIRRORED);
    let stored: Record = serde_json::from_str(&old_name(serde_json::to_string(record).unwrap())).unwrap();
    let truth: Truth = serde_json::from_str(&old_name(serde_json::to_string(truth).unwrap())).unwrap();
    let Truth::Present { issue, timeline, pull, review_comments } = truth else { return Vec::new() };
    // The truth is REST's: what came by GraphQL lacks what `gharvest_model::lossy` lists, which the origin tells.
    let mut parts = Vec::new();
    let mut take = |part: String, take: &dyn Fn(&mut Record)| {
        let mut told = stored.clone();
        take(&mut told);
        if !same_content(&stored, &told) {
            parts.push(part);
        }
    };
    take("its issue".into(), &|told| (told.issue, told.origin.issue) = (Some(issue.clone()), None));
    take("its pull request".into(), &|told| (told.pull, told.origin.pull) = (pull.clone(), None));
    take("its review comments".into(), &|told| told.review_comments = review_comments.clone());
    take("its timeline".into(), &|told| (told.timeline, told.origin.timeline) = (timeline.clone(), None));
    if stored.origin.timeline.is_none_or(|origin| origin == Origin::Rest) && stored.timeline.len() == timeline.len() {
        for (index, entry) in timeline.iter().enumerate() {
            let part = format!("entry {index} of its timeline: {}, and not {entry}", stored.timeline[index]);
            take(part, &|told| told.timeline[index] = entry.clone());
        }
    }
    parts
}

pub(crate) fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

/// Jobs of both queues that wait or are worked on.
pub(crate) fn outstanding(status: &Value) -> u64 {
    let of_queue = |queue: &Value| {
        let counts = &queue["counts"];
        let ready: u64 = counts["ready"].as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).sum();
        ready + counts["delayed"].as_u64().unwrap() + counts["leased"].as_u64().unwrap()
    };
    status["queues"].as_array().unwrap().iter().map(of_queue).sum()
}

/// The sum of one count over both queues.
pub(crate) fn count(status: &Value, what: &str) -> u64 {
    status["queues"].as_array().unwrap().iter().map(|queue| queue["counts"][what].as_u64().unwrap()).sum()
}

/// So many of both queues since they began.
pub(crate) fn count_total(status: &Value, what: &str) -> u64 {
    let queues = status["queues"].as_array().unwrap().iter();
    queues.map(|queue| queue["counts"]["totals"][what].as_u64().unwrap()).sum()
}

/// Runs a command to its end.
pub(crate) async fn finish(command: impl std::borrow::BorrowMut<Command>) -> Finished {
    finish_within(DEADLINE, command).await
}

/// Runs a command that may take long to its end.
pub(crate) async fn finish_within(deadline: Duration, mut command: impl std::borrow::BorrowMut<Command>) -> Finished {
    let command = command.borrow_mut();
    let output = tokio::time::timeout(deadline, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("it does not end: {command:?}")).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Finished { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Waits until the condition holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < DEADLINE, "it never comes that {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The program at work with its web front.
pub(crate) struct Serving {
    pub(crate) child: Child,
    /// Address of the web front, without a slash at the end.
    pub(crate) url: String,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Serving {
    /// Starts a command that has a web front, and waits for that.
    pub(crate) async fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let found = async {
            let mut said = Vec::new();
            while let Some(line) = stderr.next_line().await.unwrap() {
                if let Some(url) = line.strip_prefix("web front on ") {
                    return url.to_owned();
                }
                said.push(line);
            }
            panic!("it ended without a web front: {said:#?}");
        };
        let url = tokio::time::timeout(DEADLINE, found).await.expect("there is no web front in time");
        Self { child, url, stderr }
    }

    /// Sends a signal by name and waits for the end: exit code, how long it took, and what was said meanwhile.
    pub(crate) async fn end(mut self, signal: &str) -> (Option<i32>, Duration, String) {
        let begun = Instant::now();
        send_signal(&self.child, signal).await;
        let mut said = String::new();
        let ended = tokio::time::timeout(DEADLINE, async {
            let mut rest = self.stderr.into_inner();
            rest.read_to_string(&mut said).await.unwrap();
            self.child.wait().await.unwrap()
        });
        let status = ended.await.expect("it does not end");
        (status.code(), begun.elapsed(), said)
    }
}

async fn send_signal(child: &Child, signal: &str) {
    let process = child.id().expect("it has not ended");
    let sent = Command::new("sh").arg("-c").arg(format!("kill -{signal} {process}")).status().await.unwrap();
    assert!(sent.success());
}
