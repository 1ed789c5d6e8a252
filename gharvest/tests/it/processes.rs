//! The deployment of a team: each component a process of its own and two of most, on a real Redis and a real engine.
//! Each is killed in the middle of its work, and so are Redis and the engine.

use std::{
    net::TcpListener,
    process::Stdio,
    time::{Duration, Instant},
};

use gharvest_github_simulator::{Webhook, World};
use gharvest_testkit::{SearchServer, component, recorded_data, redis::RedisServer};
use tokio::process::{Child, Command};

use crate::{
    scene::{DEADLINE, MIRRORED, SECRET, Scene, count, count_total, outstanding, until},
    up::nth_change,
};

/// Without recorded data the world is generated.
const ITEMS: u64 = 600;
const CHANGES: u64 = 40;
/// The processes of the deployment; each is killed once.
const PROCESSES: [&str; 8] =
    ["downloader", "indexer", "seeder", "webhook-receiver", "web", "downloader", "indexer", "seeder"];
/// The whole repository takes longer than a single command.
const MIRRORED_WITHIN: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn processes_redis_and_engine_killed_in_turn_end_in_an_equal_mirror() {
    let test = "processes_redis_and_engine_killed_in_turn_end_in_an_equal_mirror";
    let Some(mut redis) = RedisServer::start(test, &["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let Some(mut engine) = SearchServer::start(test, &[]) else { return };
    let called = recorded_data(test).map_or(MIRRORED, |_| "recorded/repository");
    let scene = match recorded_data(test) {
        Some(folder) => Scene::of(World::recorded(folder, crate::scene::name(called)), called),
        None => Scene::new(ITEMS),
    };
    let deployment = Deployment::new(&redis, &engine);
    let mut running: Vec<Running> = Vec::new();
    for program in PROCESSES {
        running.push(deployment.start(&scene, program));
    }
    for process in &running {
        process.is_ready().await;
    }
    deployment.done(&scene, &["track", called]).await;

    let mut hits = 0;
    for (nth, program) in PROCESSES.into_iter().enumerate() {
        // A mirror takes few requests, so what was indexed counts as well.
        let done = |status: &serde_json::Value| scene.requests() + count_total(status, "finished");
        let wanted = done(&deployment.status(&scene).await) + 40;
        until("it works, or all is done", async || {
            let status = deployment.status(&scene).await;
            done(&status) >= wanted || outstanding(&status) == 0
        })
        .await;
        running[nth].child.kill().await.unwrap();
        let left = outstanding(&deployment.status(&scene).await);
        println!("killed {program}: {left} jobs outstanding");
        hits += usize::from(left > 0);
        running[nth] = deployment.start(&scene, program);
        if nth == 2 {
            redis.crash_and_restart(&["--appendonly", "yes", "--appendfsync", "always"]);
            println!("killed Redis");
        }
        if nth == 4 {
            engine.crash_and_restart();
            println!("killed the engine");
        }
    }
    println!("{hits} of {} kills hit work", PROCESSES.len());
    // A process that began while the engine was away has ended: whoever supervises it starts it again.
    for process in &mut running {
        if process.child.try_wait().unwrap().is_some() {
            println!("{} had ended and is started again", process.program);
            *process = deployment.start(&scene, process.program);
        }
    }
    assert!(hits >= PROCESSES.len() / 2, "{hits} kills hit work");
    is_equal(&scene, &deployment, called).await;

    // Changes announced by webhook are found through the web process.
    let receiver = running.iter().find(|process| process.program == "webhook-receiver").unwrap();
    receiver.is_ready().await;
    let way = Webhook::new(format!("{}/webhooks/github/receive", receiver.url), SECRET);
    scene.control.set_webhook(Some(way));
    for round in 0..CHANGES {
        scene.control.change(&scene.called(), nth_change(&scene, round)).unwrap();
    }
    scene.control.webhooks_settled().await;
    assert!(scene.control.deliveries().iter().all(|delivery| delivery.status_code == 202));
    is_equal(&scene, &deployment, called).await;
    let web = running.iter().find(|process| process.program == "web").unwrap();
    web.is_ready().await;
    let found = reqwest::get(format!("{}/api/v1/search?q=%22said+in+round+22%22", web.url)).await.unwrap();
    let found: serde_json::Value = serde_json::from_str(&found.text().await.unwrap()).unwrap();
    assert_eq!(found["total"], 1, "{found}");

    for process in running {
        process.ends_well().await;
    }
    assert_eq!(count(&deployment.status(&scene).await, "leased"), 0);
    assert_eq!(scene.control.violations(), []);
}

/// GitHub, archive, ledger and index agree, and the queues are empty.
async fn is_equal(scene: &Scene, deployment: &Deployment, called: &str) {
    let begun = Instant::now();
    loop {
        let status = deployment.status(scene).await;
        if outstanding(&status) == 0 && scene.differences(called).await.is_empty() {
            assert_eq!(count(&status, "buried"), 0, "{status}");
            break;
        }
        assert!(begun.elapsed() < MIRRORED_WITHIN, "{status} {:#?}", scene.differences(called).await);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let mut verify = scene.command(&["verify"]);
    let verified = crate::scene::finish(deployment.set(&mut verify)).await;
    println!("{}", verified.stderr.trim());
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

/// Where the shared services are.
struct Deployment {
    redis: String,
    engine: String,
}

impl Deployment {
    fn new(redis: &RedisServer, engine: &SearchServer) -> Self {
        Self { redis: redis.url(), engine: engine.url().to_owned() }
    }

    /// Settings that all processes share.
    fn set<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("GHARVEST_QUEUE__URL", &self.redis)
            .env("GHARVEST_SEARCH__URL", &self.engine)
            // Eight kills in a row: none of these jobs is to blame.
            .env("GHARVEST_QUEUE__MAX_LOST", "100")
            .env("GHARVEST_DOWNLOADER__LEASE", "10s")
            .env("GHARVEST_INDEXER__LEASE", "10s")
            .env("GHARVEST_SEEDER__RECONCILE_EVERY", "5s")
            // A recording lacks items that others refer to, which GraphQL cannot give.
            .env("GHARVEST_DOWNLOADER__GRAPHQL", "false")
    }

    fn start(&self, scene: &Scene, program: &'static str) -> Running {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let section = if program == "webhook-receiver" { "WEBHOOK".to_owned() } else { program.to_uppercase() };
        let mut command = scene.program(component(program), &[]);
        self.set(&mut command).env(format!("GHARVEST_{section}__LISTEN"), &address);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Running { program, url: format!("http://{address}"), child }
    }

    async fn done(&self, scene: &Scene, args: &[&str]) -> String {
        let finished = crate::scene::finish(self.set(&mut scene.command(args))).await;
        assert_eq!(finished.code, Some(0), "{args:?}: {finished:?}");
        finished.stdout
    }

    async fn status(&self, scene: &Scene) -> serde_json::Value {
        serde_json::from_str(&self.done(scene, &["status", "--json"]).await).unwrap()
    }
}

struct Running {
    program: &'static str,
    url: String,
    child: Child,
}

impl Running {
    async fn is_ready(&self) {
        let url = format!("{}/readyz", self.url);
        until("it is ready", async || reqwest::get(&url).await.is_ok_and(|answer| answer.status() == 200)).await;
    }

    /// SIGTERM: it ends by itself, within its deadline. Says how much memory it took at most.
    async fn ends_well(mut self) {
        let process = self.child.id().expect("it has not ended");
        let memory = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let peak = memory.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown").trim().to_owned();
        println!("{}: {peak} at most", self.program);
        let sent = Command::new("kill").arg("-TERM").arg(process.to_string()).status().await.unwrap();
        assert!(sent.success());
        let ended = tokio::time::timeout(DEADLINE, self.child.wait()).await.expect("it does not end").unwrap();
        assert_eq!(ended.code(), Some(0), "{}", self.program);
    }
}
