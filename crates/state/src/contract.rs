//! The behaviours that every backend of the state must show. Declaring one registers it.
//!
//! A backend's test calls `gharvest_state::state_contract!(make)` with an async function that gives an
//! `Option<`[`Fixture`]`>`, none where the backend is missing on this machine; each behaviour becomes one test.

use std::{any::Any, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt};
use gharvest_model::{ItemId, Kind, RepositoryId, Revision, live::LiveEvent, record::Visibility};
use jiff::Timestamp;

use crate::{HISTORY, State};

/// An empty state, and how to let its time pass.
pub struct Fixture {
    state: Arc<dyn State>,
    advance: Box<dyn Fn(Duration) + Send + Sync>,
    stored: Box<dyn Fn() -> usize + Send + Sync>,
    _kept: Box<dyn Any + Send + Sync>,
}

impl std::fmt::Debug for Fixture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Fixture").field(&self.state).finish()
    }
}

impl Fixture {
    /// A fixture; `stored` counts the values that lie in the backend, with those whose time is over, and `kept` lives as
    /// long as it, for a temporary folder or a server.
    pub fn new(
        state: Arc<dyn State>,
        advance: impl Fn(Duration) + Send + Sync + 'static,
        stored: impl Fn() -> usize + Send + Sync + 'static,
        kept: impl Any + Send + Sync,
    ) -> Self {
        Self { state, advance: Box::new(advance), stored: Box::new(stored), _kept: Box::new(kept) }
    }

    fn advance(&self, seconds: u64) {
        (self.advance)(Duration::from_secs(seconds));
    }

    async fn value(&self, key: &str) -> Option<Vec<u8>> {
        self.state.get(key).await.expect("get").map(|versioned| versioned.value)
    }

    async fn put(&self, key: &str, value: &str, expected: Option<u64>) -> bool {
        self.state.put(key, value.as_bytes(), expected, None).await.expect("put")
    }

    async fn publish(&self, numbers: impl IntoIterator<Item = u64>) {
        let events: Vec<_> = numbers.into_iter().map(event).collect();
        self.state.publish(&events).await.expect("publish");
    }

    async fn history(&self, after: u64, limit: usize) -> Vec<u64> {
        let events = self.state.history(after, limit).await.expect("history");
        assert!(events.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
        events.into_iter().map(|published| published.event.item.number).collect()
    }
}

/// An event about an item of this number.
fn event(number: u64) -> LiveEvent {
    LiveEvent {
        item: ItemId { repository: RepositoryId(1), number },
        repository: "octo/things".parse().expect("a valid name"),
        kind: Kind::Issue,
        title: format!("title {number}"),
        state: "open".to_owned(),
        revision: Revision(1),
        visibility: Visibility::Public,
        at: Timestamp::UNIX_EPOCH,
    }
}

macro_rules! contract {
    ($d:tt $(async fn $name:ident($fixture:ident) $body:block)*) => {
        $(
            #[doc = concat!("The behaviour `", stringify!($name), "`.")]
            pub async fn $name($fixture: &Fixture) $body
        )*

        /// The names of all behaviours, which are those of their tests.
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];

        /// One test for each behaviour, on the backend that the function given makes.
        #[macro_export]
        macro_rules! state_contract {
            ($d make:path) => {
                $(
                    #[tokio::test]
                    async fn $name() {
                        if let Some(fixture) = $d make().await {
                            $crate::contract::$name(&fixture).await;
                        }
                    }
                )*
            };
        }
    };
}

contract! { $
    async fn a_missing_value_is_none(f) {
        assert_eq!(f.state.get("nothing").await.expect("get"), None);
    }

    async fn a_stored_value_is_read_back(f) {
        let value: Vec<u8> = (0..=255).collect();
        assert!(f.state.put("key", &value, None, None).await.expect("put"));
        let stored = f.state.get("key").await.expect("get").expect("stored");
        assert_eq!(stored.value, value);
        assert_ne!(stored.version, 0);
    }

    async fn a_value_is_replaced_only_in_its_version(f) {
        assert!(f.put("key", "one", Some(0)).await);
        assert!(!f.put("key", "two", Some(0)).await);
        let version = f.state.get("key").await.expect("get").expect("stored").version;
        assert!(f.put("key", "two", Some(version)).await);
        assert!(!f.put("key", "three", Some(version)).await);
        assert_eq!(f.value("key").await.as_deref(), Some(b"two".as_slice()));
    }

    async fn a_value_removed_and_stored_again_has_another_version(f) {
        f.put("key", "one", None).await;
        let version = f.state.get("key").await.expect("get").expect("stored").version;
        f.state.delete("key").await.expect("delete");
        assert_eq!(f.value("key").await, None);
        assert!(!f.put("key", "two", Some(version)).await);
        f.put("key", "three", None).await;
        assert_ne!(f.state.get("key").await.expect("get").expect("stored").version, version);
    }

    async fn of_many_who_count_up_none_is_lost(f) {
        f.put("count", "0", None).await;
        let counting = (0..8).map(|_| async {
            for _ in 0..10 {
                loop {
                    let stored = f.state.get("count").await.expect("get").expect("stored");
                    let count: u64 = String::from_utf8(stored.value).expect("text").parse().expect("a number");
                    if f.put("count", &(count + 1).to_string(), Some(stored.version)).await {
                        break;
                    }
                }
            }
        });
        futures::future::join_all(counting).await;
        assert_eq!(f.value("count").await.as_deref(), Some(b"80".as_slice()));
    }

    async fn a_value_is_gone_after_its_time(f) {
        f.state.put("key", b"value", None, Some(Duration::from_secs(60))).await.expect("put");
        f.advance(59);
        assert!(f.value("key").await.is_some());
        f.advance(2);
        assert_eq!(f.value("key").await, None);
        assert!(f.state.list("").await.expect("list").is_empty());
        assert!(f.put("key", "again", Some(0)).await, "an expired value counts as none");
    }

    async fn what_has_ended_is_removed_however_many_names_live_for_ever(f) {
        let minute = Some(Duration::from_secs(60));
        for number in 0..300 {
            f.put(&format!("feed/{number}"), "for ever", None).await;
        }
        for number in 0..50 {
            f.state.put(&format!("trouble/{number}"), b"for a minute", None, minute).await.expect("put");
        }
        // One lives on because it was stored again, and one because it has no end any more.
        f.advance(30);
        f.state.put("trouble/1", b"again", None, minute).await.expect("put");
        f.put("trouble/2", "for ever", None).await;
        assert_eq!((f.stored)(), 350);
        f.advance(31);
        f.put("feed/0", "again", None).await;
        assert_eq!((f.stored)(), 302);
        assert_eq!(f.state.list("trouble/").await.expect("list").len(), 2);
        f.advance(60);
        f.put("feed/0", "again", None).await;
        assert_eq!((f.stored)(), 301);
    }

    async fn values_are_listed_by_prefix_in_order(f) {
        for key in ["b/2", "a/1", "b/1", "b%", "c", "B/1", "b/\u{fffd}", "b0"] {
            f.put(key, key, None).await;
        }
        let listed = f.state.list("b/").await.expect("list");
        let expected = [("b/1", "b/1"), ("b/2", "b/2"), ("b/\u{fffd}", "b/\u{fffd}")];
        assert_eq!(listed, expected.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())));
        assert_eq!(f.state.list("").await.expect("list").len(), 8);
    }

    async fn one_holder_leads_until_its_hold_ends(f) {
        let hold = Duration::from_secs(30);
        assert!(f.state.lead("seeder", "a", hold).await.expect("lead"));
        assert!(!f.state.lead("seeder", "b", hold).await.expect("lead"));
        assert!(f.state.lead("other", "b", hold).await.expect("lead"));
        f.advance(20);
        assert!(f.state.lead("seeder", "a", hold).await.expect("renewing"));
        f.advance(20);
        assert!(!f.state.lead("seeder", "b", hold).await.expect("lead"));
        f.advance(11);
        assert!(f.state.lead("seeder", "b", hold).await.expect("lead"));
        assert!(!f.state.lead("seeder", "a", hold).await.expect("lead"));
    }

    async fn only_the_holder_resigns(f) {
        let hold = Duration::from_secs(30);
        f.state.lead("seeder", "a", hold).await.expect("lead");
        f.state.resign("seeder", "b").await.expect("resign");
        assert!(!f.state.lead("seeder", "b", hold).await.expect("lead"));
        f.state.resign("seeder", "a").await.expect("resign");
        assert!(f.state.lead("seeder", "b", hold).await.expect("lead"));
    }

    async fn history_is_the_latest_events_in_order(f) {
        assert!(f.history(0, 10).await.is_empty());
        f.publish(1..=5).await;
        assert_eq!(f.history(0, 10).await, [1, 2, 3, 4, 5]);
        assert_eq!(f.history(0, 2).await, [4, 5]);
        let sequence = f.state.history(0, 10).await.expect("history")[2].sequence;
        assert_eq!(f.history(sequence, 10).await, [4, 5]);
    }

    async fn history_is_bounded(f) {
        for _ in 0..3 {
            f.publish(1..=(HISTORY as u64 / 2)).await;
        }
        let kept = f.history(0, usize::MAX).await.len();
        assert!(kept <= HISTORY + HISTORY / 10, "{kept} events are kept");
        assert!(kept >= HISTORY, "{kept} events are kept");
    }

    async fn a_subscriber_gets_what_comes(f) {
        f.publish([1]).await;
        let mut events = f.state.subscribe(None).await.expect("subscribe");
        f.publish([2, 3]).await;
        for expected in [2, 3] {
            let published = events.next().await.expect("no end").expect("an event");
            assert_eq!(published.event, event(expected));
        }
        assert!(events.next().now_or_never().is_none(), "nothing more has come");
        f.publish([4]).await;
        assert_eq!(events.next().await.expect("no end").expect("an event").event.item.number, 4);
    }

    async fn a_subscriber_continues_after_its_place(f) {
        f.publish(1..=5).await;
        let place = f.state.history(0, 10).await.expect("history")[1].sequence;
        let mut events = f.state.subscribe(Some(place)).await.expect("subscribe");
        f.publish([6]).await;
        for expected in 3..=6 {
            assert_eq!(events.next().await.expect("no end").expect("an event").event.item.number, expected);
        }
    }

    async fn a_subscriber_that_is_too_slow_is_cut_off_with_an_error(f) {
        let mut events = f.state.subscribe(None).await.expect("subscribe");
        for _ in 0..3 {
            f.publish(1..=(HISTORY as u64)).await;
        }
        let mut failures = 0;
        // An end is expected: a few pages may have been read ahead, but not three histories.
        while let Some(next) = events.next().await {
            failures += u32::from(next.is_err());
        }
        assert_eq!(failures, 1);
    }

    async fn a_place_that_the_state_has_lost_lies_before_what_comes(f) {
        f.publish([1]).await;
        let last = f.state.history(0, 1).await.expect("history")[0].sequence;
        // More was heard than the state knows of, as after a failover to a copy that was behind.
        let mut events = f.state.subscribe(Some(last + 5_000)).await.expect("subscribe");
        f.advance(1);
        f.publish([2, 3]).await;
        for expected in [2, 3] {
            let next = tokio::time::timeout(Duration::from_secs(30), events.next()).await.expect("it is told");
            assert_eq!(next.expect("no end").expect("an event").event.item.number, expected);
        }
    }

    async fn an_old_place_begins_with_what_is_kept(f) {
        for _ in 0..3 {
            f.publish(1..=(HISTORY as u64)).await;
        }
        let mut events = f.state.subscribe(Some(1)).await.expect("subscribe");
        let first = events.next().await.expect("no end").expect("an event");
        assert!(first.sequence > HISTORY as u64);
    }
}
