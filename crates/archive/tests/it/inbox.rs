//! The inbox: what GitHub will never say again waits there, up to a limit.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::TryStreamExt as _;
use gharvest_archive::{Archive, ErrorKind, InboxEntry, Options, store::faulty::FaultyStore};
use serde_json::{Value, json};

use crate::place::{everywhere, fact, item, memory};

fn entry(number: Option<u64>, delivery: &str, second: i64) -> InboxEntry {
    InboxEntry { item: number.map(item), fact: fact(delivery, second), triggers: Value::Null }
}

fn deliveries(entries: &[InboxEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.fact.delivery.as_str()).collect()
}

everywhere! {
    async fn facts_wait_for_their_item_until_they_are_removed(place) {
        let archive = place.open().await;
        for (number, delivery, second) in [(Some(1), "b", 2), (Some(1), "c", 1), (Some(10), "d", 3), (None, "e", 4)] {
            archive.put_inbox(&entry(number, delivery, second)).await.unwrap();
        }
        let mut again = entry(Some(1), "b", 2);
        again.triggers = json!(["the latest counts"]);
        archive.put_inbox(&again).await.unwrap();
        let other = place.open().await;
        let waiting = other.inbox(item(1)).await.unwrap();
        assert_eq!(deliveries(&waiting), ["c", "b"], "oldest first");
        assert_eq!(waiting[1], again);
        let mut all: Vec<InboxEntry> = other.inbox_all().try_collect().await.unwrap();
        all.sort_by(|a, b| a.fact.delivery.cmp(&b.fact.delivery));
        assert_eq!(deliveries(&all), ["b", "c", "d", "e"]);
        let names = other.inbox_names().await.unwrap();
        let expected = [(item(1), vec!["b".to_owned(), "c".to_owned()]), (item(10), vec!["d".to_owned()])];
        assert_eq!((names.facts, names.others), (expected.into(), vec!["e".to_owned()]));
        assert_eq!(other.inbox_other("e").await.unwrap(), Some(entry(None, "e", 4)));
        for delivery in ["b", "e", "no such"] {
            place.open().await.remove_inbox(delivery).await.unwrap();
        }
        let all: Vec<InboxEntry> = archive.inbox_all().try_collect().await.unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(archive.inbox_names().await.unwrap().count(), 2);
    }

    async fn a_full_inbox_refuses_until_there_is_room(place) {
        let limited = Options { inbox_limit: 3, ..Options::default() };
        let (archive, other) = (place.open_with(&limited).await, place.open_with(&limited).await);
        for (at, archive) in [&archive, &other, &archive].into_iter().enumerate() {
            archive.put_inbox(&entry(Some(at as u64 + 1), &format!("d{at}"), 1)).await.unwrap();
        }
        for archive in [&archive, &other] {
            let refused = archive.put_inbox(&entry(Some(9), "late", 2)).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Full);
            assert!(refused.to_string().contains("its limit of 3"), "{refused}");
            archive.put_inbox(&entry(Some(1), "d0", 1)).await.expect("one that is there already takes no room");
        }
        assert_eq!(archive.inbox(item(9)).await.unwrap(), []);
        other.remove_inbox("d1").await.unwrap();
        // A full inbox is counted again two seconds later.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(2)).await;
        tokio::time::resume();
        archive.put_inbox(&entry(Some(9), "late", 2)).await.expect("another process made room");
        assert_eq!(other.put_inbox(&entry(None, "later", 2)).await.unwrap_err().kind(), ErrorKind::Full);
    }

    async fn what_is_no_delivery_id_is_refused(place) {
        let archive = place.open().await;
        for delivery in ["", "../x", "a/b", ".", "a b", &"x".repeat(101)] {
            assert_eq!(archive.put_inbox(&entry(None, delivery, 1)).await.unwrap_err().kind(), ErrorKind::Refused);
        }
        assert_eq!(archive.inbox_names().await.unwrap().count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_inbox_is_not_counted_for_each_entry_that_it_refuses() {
    let store = FaultyStore::new(memory("").await.unwrap().store());
    let limited = Options { inbox_limit: 1, ..Options::default() };
    let archive = Archive::with_store(Arc::clone(&store) as _, &limited).await.unwrap();
    archive.put_inbox(&entry(Some(1), "d1", 1)).await.unwrap();
    let before = store.calls();
    for at in 2..=11 {
        let refused = archive.put_inbox(&entry(Some(at), &format!("d{at}"), 1)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Full);
    }
    assert_eq!(store.calls() - before, 10, "each looks whether it is there already, and no more");
}

/// What was logged.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_inbox_that_fills_up_raises_one_alarm_until_there_is_room() {
    let said = Said::default();
    let writer = said.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _listening = tracing::subscriber::set_default(subscriber);
    let alarms = || {
        let said = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
        said.lines().filter(|line| line.contains("ERROR") && line.contains("Inbox is filling up")).count()
    };
    // A line of the log is for whoever listens where it is first reached, and other tests reach it as well.
    let full = memory("").await.unwrap().open_with(&Options { inbox_limit: 0, ..Options::default() }).await;
    assert!(full.put_inbox(&entry(None, "d0", 1)).await.is_err());
    tracing::callsite::rebuild_interest_cache();
    said.0.lock().unwrap().clear();
    let archive = memory("").await.unwrap().open_with(&Options { inbox_limit: 20, ..Options::default() }).await;
    let put = async |at: u64| archive.put_inbox(&entry(Some(at), &format!("d{at}"), 1)).await;
    for (at, expected) in (1..=20).map(|at| (at, usize::from(at > 18))) {
        put(at).await.unwrap();
        assert_eq!(alarms(), expected, "after {at} of 20");
    }
    assert!(put(21).await.is_err());
    assert_eq!(alarms(), 1, "told once");
    for at in 1..=10 {
        archive.remove_inbox(&format!("d{at}")).await.unwrap();
    }
    for at in 1..=9 {
        put(at).await.unwrap();
    }
    assert_eq!(alarms(), 2, "there was room meanwhile");
}
