//! What people edited between two visits stays readable, in the record and on the thread's page.

use std::collections::BTreeSet;

use gharvest_github_simulator::{Change, Truth, Webhook};
use gharvest_model::{Record, record::OlderText};
use jiff::Timestamp;
use serde_json::Value;

use crate::scene::{MIRRORED, SECRET, Scene, Serving, name, until};

/// Older texts kept per record: those of two rounds.
const MOST: usize = 6;

/// A thread that is edited, and what is read of it.
struct Edited {
    scene: Scene,
    serving: Serving,
    number: u64,
    title: String,
    body: String,
    comment: Value,
}

impl Edited {
    async fn new() -> Self {
        let scene = Scene::new(20);
        let found = (1..=scene.control.highest_number(&name(MIRRORED))).find_map(|number| {
            let truth = scene.control.truth(&name(MIRRORED), number)?;
            let Truth::Present { issue, timeline, pull: None, .. } = truth else { return None };
            let body = issue["body"].as_str().filter(|body| !body.is_empty())?.to_owned();
            let comment = timeline.into_iter().find(|entry| entry["event"] == "commented")?;
            Some((number, issue["title"].as_str()?.to_owned(), body, comment))
        });
        let (number, title, body, comment) = found.expect("some issue has a body and a comment");
        let mut command = scene.command(&["up", "--listen", "127.0.0.1:0"]);
        command
            .env("GHARVEST_SEEDER__RECONCILE_EVERY", "1s")
            .env("GHARVEST_DOWNLOADER__MAX_HISTORY", MOST.to_string())
            // What visits see is looked at, not what GitHub tells of the past.
            .env("GHARVEST_DOWNLOADER__EDITS_RESERVE", "1");
        let serving = Serving::start(command).await;
        scene.done(&["track", MIRRORED]).await;
        until("the mirror is complete", async || scene.differences(MIRRORED).await.is_empty()).await;
        Self { scene, serving, number, title, body, comment }
    }

    /// Edits title, body and comment, and waits until the mirror has seen it.
    async fn edit(&self, word: &str) {
        let (number, comment) = (self.number, self.comment["id"].as_u64().unwrap());
        for change in [
            Change::EditTitle { number, title: format!("{word} title") },
            Change::EditBody { number, body: format!("{word} body") },
            Change::EditComment { number, comment, body: format!("{word} comment") },
        ] {
            drop(self.scene.control.change(&name(MIRRORED), change).unwrap());
        }
        until("the mirror has the edited texts", async || self.scene.differences(MIRRORED).await.is_empty()).await;
    }

    fn record(&self) -> Record {
        serde_json::from_slice(&std::fs::read(self.scene.record_path(self.number)).unwrap()).unwrap()
    }

    async fn page(&self) -> String {
        let url = format!("{}/{MIRRORED}/issues/{}", self.serving.url, self.number);
        reqwest::get(url).await.unwrap().error_for_status().unwrap().text().await.unwrap()
    }
}

fn older<'a>(record: &'a Record, of: &str) -> Vec<&'a OlderText> {
    record.history.iter().filter(|older| older.of == of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_edited_with_and_without_a_word_stay_in_the_record_and_on_the_page() {
    let edited = Edited::new().await;
    let node = edited.comment["node_id"].as_str().unwrap();
    let before = Timestamp::now();
    edited.edit("silent").await;
    let record = edited.record();
    for (of, text) in [("title", &edited.title), ("body", &edited.body)] {
        let [older] = older(&record, of)[..] else { panic!("{:?}", record.history) };
        assert_eq!(older.text, *text);
        assert!(older.replaced_at >= before && older.replaced_at <= Timestamp::now(), "when it was seen: {older:?}");
    }
    assert_eq!(older(&record, node)[0].text, edited.comment["body"].as_str().unwrap());
    let page = edited.page().await;
    assert_eq!(page.matches("Before it was edited").count(), 2, "body and comment; a title's are events");
    assert!(page.contains(&edited.title));
    for of in ["body", node] {
        let seen = older(&record, of)[0].replaced_at;
        assert!(page.contains(&seen.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()), "until {seen}: {page}");
    }

    edited.scene.control.set_webhook(Some(Webhook::new(format!("{}/webhooks/github", edited.serving.url), SECRET)));
    edited.edit("announced").await;
    until("facts of webhooks are merged", async || edited.record().kept.len() == 3).await;
    let record = edited.record();
    let said = |fact: &gharvest_model::record::Fact| fact.facts["changes"]["body"]["from"].as_str().map(str::to_owned);
    let said: Vec<String> = record.kept.iter().filter_map(said).collect();
    assert!(said.contains(&"silent body".to_owned()) && said.contains(&"silent comment".to_owned()), "{said:?}");
    let page = edited.page().await;
    assert_eq!(page.matches("2 older texts").count(), 2, "a webhook and a visit tell of one text");
    assert!(page.contains("silent body") && page.contains("silent comment"), "{page}");
    assert_eq!(record.history.len(), MOST);

    edited.scene.control.set_webhook(None);
    edited.edit("last").await;
    let record = edited.record();
    let texts: BTreeSet<&str> = record.history.iter().map(|older| older.text.as_str()).collect();
    let words = ["silent", "announced"].map(|word| ["title", "body", "comment"].map(|of| format!("{word} {of}")));
    assert!(texts.iter().eq(words.iter().flatten().collect::<BTreeSet<_>>()), "the oldest go: {texts:?}");
    assert_eq!(record.history.len(), MOST);
}
