//! Searches as of a date against a replay of every timeline.
//!
//! The replay below shares no code with the product: it reads GitHub's own JSON, and asks of each item, value and date
//! one question: what do the last event before that moment and the first one after it say? Recorded data is one
//! source; the other is generated, with the gaps that real timelines have.
#![allow(clippy::unwrap_used, reason = "a test that fails here says where")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use gharvest_search::{
    Access, SearchIndex, SearchRequest, Start, judged,
    query::{ParseContext, Query},
};
use gharvest_search_tantivy::TantivyIndex;
use serde_json::{Value, json};
use tempfile::TempDir;

/// GitHub's objects of one item, as they were recorded. Times are compared as text: all have one form.
struct Item {
    number: u64,
    core: Value,
    events: Vec<Value>,
}

fn read(folder: &Path) -> Vec<Item> {
    let mut items = Vec::new();
    for part in ["issues", "pulls"] {
        for entry in std::fs::read_dir(folder.join(part)).unwrap() {
            let mut file: Value = serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
            let core = file[if part == "issues" { "issue" } else { "pull" }].take();
            let mut events = file["events"].as_array().cloned().unwrap_or_default();
            events.retain(|event| event["created_at"].is_string());
            events.sort_by_key(|event| (event["created_at"].to_string(), event["id"].as_u64()));
            items.push(Item { number: core["number"].as_u64().unwrap(), core, events });
        }
    }
    items
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
}

fn when(event: &Value) -> &str {
    text(event, "/created_at").unwrap()
}

impl Item {
    fn existed(&self, end: &str) -> bool {
        text(&self.core, "/created_at").unwrap() <= end
    }

    fn state(&self, end: &str) -> &'static str {
        let now = if text(&self.core, "/merged_at").is_some() {
            "merged"
        } else if text(&self.core, "/state") == Some("closed") {
            "closed"
        } else {
            "open"
        };
        let told = |events: &mut dyn Iterator<Item = &Value>| {
            let mut state = "open";
            for event in events {
                state = match (text(event, "/event").unwrap_or(""), state) {
                    ("merged", _) => "merged",
                    ("closed", "open") => "closed",
                    ("reopened", _) => "open",
                    (_, state) => state,
                };
            }
            state
        };
        // What the timeline does not tell became true when GitHub says it did.
        let since = match now {
            "merged" => text(&self.core, "/merged_at").or_else(|| text(&self.core, "/closed_at")),
            "closed" => text(&self.core, "/closed_at"),
            _ => None,
        };
        let since = since.or_else(|| text(&self.core, "/updated_at")).unwrap();
        let last_change =
            self.events.iter().rfind(|event| matches!(text(event, "/event"), Some("merged" | "closed" | "reopened")));
        let is_told = told(&mut self.events.iter()) == now;
        if !is_told && since.max(last_change.map_or("", when)) <= end {
            return now;
        }
        told(&mut self.events.iter().filter(|event| when(event) <= end))
    }

    /// Whether a value that an item has or has not was there: put on and taken off by events of these names.
    fn has(&self, [on, off]: [&str; 2], name: &str, value: &str, is_now: bool, end: &str) -> bool {
        let is_about = |event: &&Value| {
            [Some(on), Some(off)].contains(&text(event, "/event"))
                && text(event, name).is_some_and(|name| name.eq_ignore_ascii_case(value))
        };
        let is_on = |event: &Value| text(event, "/event") == Some(on);
        let before = self.events.iter().filter(is_about).rfind(|event| when(event) <= end);
        let after = self.events.iter().filter(is_about).find(|event| when(event) > end);
        match (before, after) {
            // It is taken off later, so it was there.
            (_, Some(after)) if !is_on(after) => true,
            (Some(before), Some(_)) => is_on(before),
            (None, Some(_)) => false,
            (None, None) => is_now,
            (Some(before), None) if is_on(before) => is_now || text(&self.core, "/updated_at").unwrap() > end,
            (Some(_), None) => is_now,
        }
    }

    fn has_label(&self, label: &str, end: &str) -> bool {
        let labels = self.core["labels"].as_array().into_iter().flatten();
        let is_now = labels.filter_map(|label| text(label, "/name")).any(|name| name.eq_ignore_ascii_case(label));
        self.has(["labeled", "unlabeled"], "/label/name", label, is_now, end)
    }

    fn has_assignee(&self, login: &str, end: &str) -> bool {
        let assignees = self.core["assignees"].as_array().into_iter().flatten();
        let is_now = assignees.filter_map(|user| text(user, "/login")).any(|name| name.eq_ignore_ascii_case(login));
        self.has(["assigned", "unassigned"], "/assignee/login", login, is_now, end)
    }

    /// A milestone is one at a time, so any event of any milestone says what was there. One that goes under another
    /// title than it came was renamed: both find it.
    fn has_milestone(&self, title: &str, end: &str) -> bool {
        let is_about = |event: &&Value| {
            matches!(text(event, "/event"), Some("milestoned" | "demilestoned")) && named(event).is_some()
        };
        fn named(event: &Value) -> Option<&str> {
            text(event, "/milestone/title")
        }
        let is_on = |event: &Value| text(event, "/event") == Some("milestoned");
        let now = text(&self.core, "/milestone/title");
        let before = self.events.iter().filter(is_about).rfind(|event| when(event) <= end);
        // The same one put on again is no change.
        let came = before.filter(|before| is_on(before)).and_then(named);
        let after = self
            .events
            .iter()
            .filter(is_about)
            .find(|event| when(event) > end && !(is_on(event) && named(event) == came));
        let names = match (came, after) {
            (Some(came), Some(after)) if is_on(after) => [Some(came), None],
            (came, Some(after)) if !is_on(after) => [came, named(after)],
            (None, Some(_)) => [None, None],
            (Some(came), None) if now.is_some() => [Some(came), now],
            (Some(came), None) => [Some(came).filter(|_| text(&self.core, "/updated_at").unwrap() > end), None],
            (_, _) => [now, None],
        };
        names.contains(&Some(title))
    }
}

/// The values of a dimension that any item had at any time.
fn values(items: &[Item], now: &str, name: &str, in_event: &str) -> BTreeSet<String> {
    let mut values = BTreeMap::new();
    for item in items {
        let list = match &item.core[now] {
            Value::Array(list) => list.clone(),
            one => vec![one.clone()],
        };
        let told = item.events.iter().filter_map(|event| text(event, in_event));
        for value in list.iter().filter_map(|value| text(value, name)).chain(told) {
            values.insert(value.to_lowercase(), value.to_owned());
        }
    }
    values.into_values().collect()
}

/// Every query of a date, with the numbers that the replay finds.
fn questions(items: &[Item], day: &str) -> Vec<(String, BTreeSet<u64>)> {
    let end = format!("{day}T23:59:59Z");
    let end = end.as_str();
    let there: Vec<&Item> = items.iter().filter(|item| item.existed(end)).collect();
    let which = |test: &dyn Fn(&Item) -> bool| {
        there.iter().filter(|item| test(item)).map(|item| item.number).collect::<BTreeSet<_>>()
    };
    let mut questions = vec![
        (format!("is:open@{day}"), which(&|item| item.state(end) == "open")),
        (format!("is:merged@{day}"), which(&|item| item.state(end) == "merged")),
        (format!("is:closed@{day}"), which(&|item| item.state(end) != "open")),
    ];
    for label in values(items, "labels", "/name", "/label/name") {
        questions.push((format!("label:\"{label}\"@{day}"), which(&|item| item.has_label(&label, end))));
    }
    for login in values(items, "assignees", "/login", "/assignee/login") {
        questions.push((format!("assignee:{login}@{day}"), which(&|item| item.has_assignee(&login, end))));
    }
    for title in values(items, "milestone", "/title", "/milestone/title") {
        questions.push((format!("milestone:\"{title}\"@{day}"), which(&|item| item.has_milestone(&title, end))));
    }
    questions
}

async fn found(index: &dyn SearchIndex, query: &str) -> BTreeSet<u64> {
    let parsed = Query::parse(query, &ParseContext { now: judged::ASKED_AT.parse().unwrap(), me: None });
    assert_eq!(parsed.notes, [], "{query}");
    let mut request = SearchRequest {
        query: parsed.query,
        access: Access::All,
        per_page: 100,
        start: Start::Page(1),
        facets: Vec::new(),
        snippets: false,
        timeout: Duration::from_secs(60),
    };
    let mut numbers = BTreeSet::new();
    loop {
        let reply = index.search(&request).await.unwrap();
        numbers.extend(reply.hits.iter().map(|hit| hit.item.number));
        let Some(next) = reply.next else { return numbers };
        request.start = Start::Cursor(next);
    }
}

async fn compare(folder: &Path, days: &[&str]) -> usize {
    let data = TempDir::new().unwrap();
    let index: Arc<dyn SearchIndex> = TantivyIndex::open(&data.path().join("index")).await.unwrap();
    index.ensure("archive").await.unwrap();
    index.apply(judged::documents(&judged::records(folder))).await.unwrap();
    index.commit().await.unwrap();
    let items = read(folder);
    let (mut asked, mut matched, mut differences) = (0, 0, Vec::new());
    for day in days {
        for (query, expected) in questions(&items, day) {
            let found = found(index.as_ref(), &query).await;
            asked += 1;
            matched += expected.len();
            if found != expected {
                let (more, less): (Vec<_>, Vec<_>) =
                    (found.difference(&expected).collect(), expected.difference(&found).collect());
                differences.push(format!("{query}: {more:?} found, {less:?} not found"));
            }
        }
    }
    assert!(differences.is_empty(), "{} of {asked} differ:\n{}", differences.len(), differences.join("\n"));
    assert!(matched > items.len(), "the questions ask for something: {matched}");
    asked
}

#[tokio::test]
async fn every_recorded_item_is_as_its_timeline_says_on_every_date() {
    let name = "every_recorded_item_is_as_its_timeline_says_on_every_date";
    let Some(folder) = gharvest_testkit::recorded_data(name) else { return };
    let days = ["2013-08-01", "2014-12-31", "2016-02-29", "2019-06-30", "2021-01-01", "2022-12-20", "2024-05-05"];
    let asked = compare(&folder, &days).await;
    eprintln!("{asked} questions answered alike");
}

/// A sequence that looks random and is the same at every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len() as u64) as usize]
    }

    fn time(&mut self) -> String {
        let hour = self.pick(&["00:00:00", "12:30:00", "23:59:59"]);
        format!("2024-01-{:02}T{hour}Z", self.below(27) + 2)
    }
}

/// An item whose timeline tells some of what happened, and sometimes not what is true now.
fn generated(number: u64, random: &mut Random) -> (bool, Value) {
    let is_pull = random.below(2) == 0;
    let mut times: Vec<String> = (0..random.below(12)).map(|_| random.time()).collect();
    times.sort();
    let mut events = Vec::new();
    for (id, at) in times.iter().enumerate() {
        let name = random.pick(&[
            "labeled",
            "unlabeled",
            "labeled",
            "unlabeled",
            "assigned",
            "unassigned",
            "milestoned",
            "demilestoned",
            "closed",
            "reopened",
            "merged",
            "commented",
        ]);
        if name == "merged" && !is_pull {
            continue;
        }
        events.push(json!({
            "event": name, "id": id, "created_at": at, "label": {"name": random.pick(&["bug", "Bug", "ui"])},
            "assignee": {"login": random.pick(&["ann", "bob"])}, "milestone": {"title": random.pick(&["v1", "v2"])},
        }));
    }
    let state = random.pick(&["open", "closed", "closed"]);
    let end = "2024-02-01T00:00:00Z";
    let milestone = [Value::Null, json!({"title": "v1"}), json!({"title": "v9"})][random.below(3) as usize].clone();
    let labels = [json!([]), json!([{"name": "bug"}]), json!([{"name": "ui"}])][random.below(3) as usize].clone();
    let assignees = [json!([]), json!([{"login": "ann"}])][random.below(2) as usize].clone();
    let core = json!({
        "number": number, "title": format!("Item {number}"), "state": state, "milestone": milestone,
        "created_at": "2024-01-01T08:00:00Z", "updated_at": end,
        "closed_at": (state == "closed").then_some(end),
        "merged_at": (is_pull && state == "closed" && random.below(2) == 0).then_some(end),
        "labels": labels,
        "assignees": assignees,
    });
    let part = if is_pull { "pull" } else { "issue" };
    (is_pull, json!({part: core, "events": events}))
}

#[tokio::test]
async fn every_generated_item_is_as_its_timeline_says_on_every_date() {
    let folder = TempDir::new().unwrap();
    let mut random = Random(7);
    for part in ["issues", "pulls"] {
        std::fs::create_dir(folder.path().join(part)).unwrap();
    }
    for number in 1..=400 {
        let (is_pull, file) = generated(number, &mut random);
        let part = if is_pull { "pulls" } else { "issues" };
        std::fs::write(folder.path().join(part).join(format!("{number}.json")), file.to_string()).unwrap();
    }
    let days = ["2023-12-31", "2024-01-01", "2024-01-05", "2024-01-12", "2024-01-20", "2024-01-31", "2024-03-01"];
    compare(folder.path(), &days).await;
}
