//! `gharvest up` beside a living GitHub: webhooks that get lost, and the asking that makes up for them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use gharvest_github_simulator::{Change, Truth, Webhook};

use crate::scene::{MIRRORED, SECRET, Scene, Serving, TOKEN, count, name, until};

const ITEMS: u64 = 100;
const CHANGES: u64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_lost_doubled_and_reordered_end_in_an_equal_mirror() {
    let scene = Scene::new(ITEMS);
    let mut command = scene.command(&["up", "--listen", "127.0.0.1:0"]);
    command.env("GHARVEST_SEEDER__RECONCILE_EVERY", "1s").env("GHARVEST_DOWNLOADER__DRAIN", "20s");
    let serving = Serving::start(command).await;
    let unready = reqwest::get(format!("{}/healthz", serving.url)).await.unwrap();
    assert_eq!(unready.status(), 200);
    scene.done(&["track", MIRRORED]).await;
    until("the mirror is complete", async || scene.differences(MIRRORED).await.is_empty()).await;

    let heard = listen(&format!("{}/events", serving.url)).await;
    let way = Webhook::new(format!("{}/webhooks/github", serving.url), SECRET);
    scene.control.set_webhook(Some(Webhook { lost: 0.2, doubled: 0.2, delayed: 0.2, ..way }));
    for round in 0..CHANGES {
        scene.control.change(&name(MIRRORED), nth_change(&scene, round)).unwrap();
    }
    scene.control.webhooks_settled().await;
    let deliveries = scene.control.deliveries();
    let lost = deliveries.iter().filter(|delivery| delivery.status_code == 0).count();
    assert!(lost > 0 && lost < deliveries.len(), "{lost} of {} deliveries lost", deliveries.len());
    assert!(deliveries.iter().all(|delivery| matches!(delivery.status_code, 0 | 202)), "{deliveries:#?}");
    println!("{} deliveries, {lost} lost", deliveries.len());

    until("all records equal GitHub again", async || scene.differences(MIRRORED).await.is_empty()).await;
    until("changes are told live", async || heard.lock().unwrap().contains("event: change")).await;
    assert!(heard.lock().unwrap().contains(MIRRORED), "{}", heard.lock().unwrap());
    until("what was said is found", async || scene.total("\"said in round 42\"").await == 1).await;

    let (code, took, said) = serving.end("TERM").await;
    assert_eq!(code, Some(0), "{said}");
    assert!(took < Duration::from_secs(25), "it took {took:?} to end");
    let status = scene.json(&["status", "--json"]).await;
    assert_eq!((count(&status, "leased"), count(&status, "buried")), (0, 0), "{status}");
    assert_eq!(scene.control.violations(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_change_while_it_runs_and_invalid_ones_are_refused_by_name() {
    let scene = Scene::new(20);
    let file = scene.folder().join("gharvest.toml");
    let write = |seeder: &str, token: &str, secret: &str| {
        let text =
            format!("[seeder]\n{seeder}\n[github]\ntokens = [\"{token}\"]\n[webhook]\nsecrets = [\"{secret}\"]\n");
        // As a whole, as editors do.
        std::fs::write(file.with_extension("new"), text).unwrap();
        std::fs::rename(file.with_extension("new"), &file).unwrap();
    };
    let (rarely, often) = ("reconcile_every = \"24h\"", "reconcile_every = \"1s\"");
    write(rarely, TOKEN, SECRET);
    let mut command = scene.command(&["--config", file.to_str().unwrap(), "up", "--listen", "127.0.0.1:0"]);
    command.env_remove("GITHUB_TOKEN").env_remove("GHARVEST_WEBHOOK__SECRETS");
    let serving = Serving::start(command).await;
    scene.done(&["track", MIRRORED]).await;
    until("the mirror is complete", async || scene.differences(MIRRORED).await.is_empty()).await;
    let metric = async |name: &str| {
        let text = reqwest::get(format!("{}/metrics", serving.url)).await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
        line.and_then(|value| value.trim().parse::<f64>().ok()).unwrap_or_default()
    };

    // Another secret, without a moment in which nobody answers.
    let mut rounds = 100..;
    let mut deliver = async |secret: &str| {
        let way = Webhook::new(format!("{}/webhooks/github", serving.url), secret);
        scene.control.set_webhook(Some(way));
        scene.control.change(&name(MIRRORED), nth_change(&scene, rounds.next().unwrap())).unwrap();
        scene.control.webhooks_settled().await;
        let status = scene.control.deliveries()[0].status_code;
        scene.control.set_webhook(None);
        status
    };
    assert_eq!(deliver("another-secret").await, 403);
    let mut until_accepted = async |secret: &str| {
        until("the other secret is known", async || match deliver(secret).await {
            202 => true,
            status => {
                assert_eq!(status, 403, "somebody answers all the time");
                false
            }
        })
        .await;
    };
    write(rarely, TOKEN, "another-secret");
    until_accepted("another-secret").await;

    // What is invalid is refused by name, and the former stay.
    write("reconcile_every = \"sometimes\"", TOKEN, SECRET);
    until("it is refused", async || metric("gharvest_settings_refused_total").await > 0.0).await;
    until_accepted("another-secret").await;

    // Another token, and a schedule that finds what no webhook tells.
    scene.control.allow_token("another-token", "another", 5_000);
    write(often, "another-token", "third-secret");
    until_accepted("third-secret").await;
    // What the former worker still has in hand is done with the former token.
    until("nothing is left to do", async || scene.differences(MIRRORED).await.is_empty()).await;
    scene.control.revoke_token(TOKEN);
    for round in 1..20 {
        scene.control.change(&name(MIRRORED), nth_change(&scene, round)).unwrap();
    }
    until("the schedule finds it with the other token", async || scene.differences(MIRRORED).await.is_empty()).await;

    let (code, _, said) = serving.end("TERM").await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("changed settings are refused") && said.contains("[seeder] reconcile_every"), "{said}");
    let status = scene.json(&["status", "--json"]).await;
    assert_eq!((count(&status, "leased"), count(&status, "buried")), (0, 0), "{status}");
}

/// Changes that show in `updated_at`, on items spread over the repository.
pub(crate) fn nth_change(scene: &Scene, round: u64) -> Change {
    let numbers = scene.control.truth_numbers(&scene.called());
    let number = numbers[(round * 7) as usize % numbers.len()];
    let Some(Truth::Present { issue, .. }) = scene.control.truth(&scene.called(), number) else { panic!("#{number}") };
    match round % 4 {
        0 => Change::EditTitle { number, title: format!("A title of round {round}") },
        1 => Change::Label { number, label: format!("round-{round}") },
        3 if issue["state"] == "open" => Change::Close { number, reason: None },
        _ => Change::Comment { number, body: format!("This was said in round {round}.") },
    }
}

/// Reads live events into a text, until the server ends.
async fn listen(url: &str) -> Arc<Mutex<String>> {
    let response = reqwest::get(url).await.unwrap();
    assert_eq!(response.status(), 200);
    let heard = Arc::new(Mutex::new(String::new()));
    let written = Arc::clone(&heard);
    tokio::spawn(async move {
        let mut pieces = response.bytes_stream();
        while let Some(Ok(piece)) = pieces.next().await {
            written.lock().unwrap().push_str(&String::from_utf8_lossy(&piece));
        }
    });
    heard
}
