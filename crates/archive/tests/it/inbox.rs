//! The inbox: what GitHub will never say again waits there, up to a limit.

use futures::TryStreamExt as _;
use gharvest_archive::{ErrorKind, InboxEntry, Options};
use serde_json::{Value, json};

use crate::place::{everywhere, fact, item};

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
        for delivery in ["b", "e", "no such"] {
            place.open().await.remove_inbox(delivery).await.unwrap();
        }
        let all: Vec<InboxEntry> = archive.inbox_all().try_collect().await.unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(archive.inbox_count().await.unwrap(), 2);
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
        archive.put_inbox(&entry(Some(9), "late", 2)).await.expect("another process made room");
        assert_eq!(other.put_inbox(&entry(None, "later", 2)).await.unwrap_err().kind(), ErrorKind::Full);
    }

    async fn what_is_no_delivery_id_is_refused(place) {
        let archive = place.open().await;
        for delivery in ["", "../x", "a/b", ".", "a b", &"x".repeat(101)] {
            assert_eq!(archive.put_inbox(&entry(None, delivery, 1)).await.unwrap_err().kind(), ErrorKind::Refused);
        }
        assert_eq!(archive.inbox_count().await.unwrap(), 0);
    }
}
