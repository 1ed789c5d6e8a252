//! The behaviours that every store must show. Declaring one registers it.
//!
//! A store's test calls `gharvest_archive::store_contract!(make)` with an async function `fn(&str) -> Option<Fixture>`
//! that makes an empty store for the test of that name, or none where the backend is missing on this machine. Each
//! behaviour becomes one named test.

use std::{any::Any, collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};

use super::{Base, Condition, Durability, Fold, Mark, Store, Version};
use crate::{Error, ErrorKind, Result};

/// How many writers race.
const RACERS: usize = 16;
/// How often they race: a store that lets two win may need a few rounds to show it.
const ROUNDS: usize = 8;

/// An empty store, and a second handle on the same objects, as another process has one.
pub struct Fixture {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The same objects.
    pub other: Arc<dyn Store>,
    _kept: Box<dyn Any + Send + Sync>,
}

impl Fixture {
    /// A fixture; `kept` lives as long as it, for a temporary folder or a server.
    pub fn new(store: Arc<dyn Store>, other: Arc<dyn Store>, kept: impl Any + Send + Sync) -> Self {
        Self { store, other, _kept: Box::new(kept) }
    }

    fn racer(&self, at: usize) -> &dyn Store {
        if at.is_multiple_of(2) { &*self.store } else { &*self.other }
    }
}

impl std::fmt::Debug for Fixture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fixture").field("store", &self.store).finish_non_exhaustive()
    }
}

async fn put(store: &dyn Store, key: &str, text: &str) {
    let written = store.put(key, text.to_owned().into(), Condition::Any, Durability::Durable).await.expect("put");
    assert!(written, "an unconditional put always writes");
}

async fn put_if(store: &dyn Store, key: &str, text: &str, condition: Condition) -> bool {
    store.put(key, text.to_owned().into(), condition, Durability::Durable).await.expect("put")
}

async fn text(store: &dyn Store, key: &str) -> Option<String> {
    let found = store.get(key).await.expect("get")?;
    Some(String::from_utf8(found.0.to_vec()).expect("text"))
}

async fn version(store: &dyn Store, key: &str) -> Version {
    store.get(key).await.expect("get").expect("it is there").1
}

async fn names(store: &dyn Store, folder: &str) -> Vec<String> {
    let mut names = store.list(folder).await.expect("list");
    names.sort_unstable();
    names
}

/// Joins the object and its entries, so that nothing but their order and number counts.
fn joining() -> Fold {
    Arc::new(|base, entries| Ok([base.unwrap_or_default(), entries].concat().into()))
}

/// What a reader knows who read everything up to a mark.
#[derive(Debug, Default)]
struct Reader {
    content: Vec<u8>,
    mark: Option<Mark>,
}

impl Reader {
    async fn read(&mut self, store: &dyn Store, key: &str) -> &[u8] {
        let journal = store.read_journal(key, self.mark.as_ref()).await.expect("read the journal");
        if let Base::Read(base) = journal.base {
            self.content = base.unwrap_or_default().to_vec();
        }
        self.content.extend_from_slice(&journal.entries);
        self.mark = journal.mark;
        &self.content
    }
}

/// Declares the behaviours, and the macro that makes a test of each.
macro_rules! behaviours {
    ($d:tt $(async fn $name:ident($fixture:ident) $body:block)*) => {
        $(
            #[doc = concat!("The behaviour `", stringify!($name), "`.")]
            pub async fn $name($fixture: &Fixture) $body
        )*

        /// One named test for each behaviour of the contract; see [`store::contract`](crate::store::contract).
        #[macro_export]
        macro_rules! store_contract {
            ($d make:path) => {
                $(
                    #[tokio::test]
                    async fn $name() {
                        if let Some(fixture) = $d make(stringify!($name)).await {
                            $crate::store::contract::$name(&fixture).await;
                        }
                    }
                )*
            };
        }
    };
}

behaviours! { $
    async fn what_is_put_is_read_by_everybody(fixture) {
        let large = (0..3_000_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>();
        for bytes in [Bytes::new(), Bytes::from_static(b"\0\xff{"), large.into()] {
            let durability = if bytes.len() > 10 { Durability::Durable } else { Durability::MayBeLost };
            assert!(fixture.store.put("folder/object", bytes.clone(), Condition::Any, durability).await.expect("put"));
            for store in [&fixture.store, &fixture.other] {
                assert_eq!(store.get("folder/object").await.expect("get").expect("it is there").0, bytes);
            }
        }
    }

    async fn names_of_every_kind_are_kept_apart(fixture) {
        let names_used = [".github", "a b", "a+b", "a%20b", "a%2fb", "ä", "#1", "a?b", "a*b", "{a}", "~", "A.b"];
        for name in names_used {
            put(&*fixture.store, &format!("odd/{name}/x"), name).await;
        }
        for name in names_used {
            assert_eq!(text(&*fixture.other, &format!("odd/{name}/x")).await.as_deref(), Some(name));
        }
        let expected: BTreeSet<_> = names_used.map(str::to_owned).into();
        assert_eq!(fixture.other.list("odd").await.expect("list").into_iter().collect::<BTreeSet<_>>(), expected);
    }

    async fn what_is_not_there_is_none(fixture) {
        let store = &fixture.store;
        assert_eq!(store.get("no/such").await.expect("get"), None);
        assert_eq!(store.read_link("no/such").await.expect("read_link"), None);
        assert_eq!(store.list("no").await.expect("list"), Vec::<String>::new());
        let journal = store.read_journal("no/such", None).await.expect("read_journal");
        assert_eq!((journal.base, journal.entries.len(), journal.mark), (Base::Read(None), 0, None));
        store.delete("no/such").await.expect("delete");
        store.delete_all("no").await.expect("delete_all");
    }

    async fn keys_that_could_leave_the_archive_are_refused(fixture) {
        let long = "x".repeat(201);
        for key in ["", ".", "..", "/a", "a/", "a//b", "a/../b", "a/./b", "a\\b", "a\0b", "a\nb", "c:", &long] {
            let is_refused = |error: Option<Error>| error.is_some_and(|error| error.kind() == ErrorKind::Refused);
            let store = &fixture.store;
            let put = store.put(key, Bytes::new(), Condition::Any, Durability::Durable).await;
            assert!(is_refused(put.err()), "put {key:?}");
            assert!(is_refused(store.get(key).await.err()), "get {key:?}");
            assert!(is_refused(store.delete(key).await.err()), "delete {key:?}");
            assert!(is_refused(store.delete_all(key).await.err()), "delete_all {key:?}");
            assert!(is_refused(store.list(key).await.err()), "list {key:?}");
            assert!(is_refused(store.list_all(key).await.err()), "list_all {key:?}");
            assert!(is_refused(store.link(key, "a").await.err()), "link {key:?}");
            assert!(is_refused(store.link("a", key).await.err()), "link to {key:?}");
            assert!(is_refused(store.read_link(key).await.err()), "read_link {key:?}");
            assert!(is_refused(store.journal(key, Bytes::new(), joining()).await.err()), "journal {key:?}");
            assert!(is_refused(store.read_journal(key, None).await.err()), "read_journal {key:?}");
        }
    }

    async fn a_condition_that_does_not_hold_writes_nothing(fixture) {
        let (store, other) = (&*fixture.store, &*fixture.other);
        let nowhere = Version("0123456789abcdef0123456789abcdef".to_owned());
        assert!(!put_if(store, "a/b", "late", Condition::Matches(nowhere.clone())).await);
        assert_eq!(text(other, "a/b").await, None);
        assert!(put_if(store, "a/b", "first", Condition::Absent).await);
        assert!(!put_if(other, "a/b", "second", Condition::Absent).await);
        let first = version(other, "a/b").await;
        assert!(put_if(other, "a/b", "second", Condition::Matches(first.clone())).await);
        assert!(!put_if(store, "a/b", "third", Condition::Matches(first)).await);
        assert!(!put_if(store, "a/b", "third", Condition::Matches(nowhere)).await);
        assert_eq!(text(store, "a/b").await.as_deref(), Some("second"));
        let second = version(store, "a/b").await;
        store.delete("a/b").await.expect("delete");
        assert!(!put_if(other, "a/b", "third", Condition::Matches(second)).await, "a removed object matches nothing");
        assert!(put_if(other, "a/b", "again", Condition::Absent).await);
    }

    async fn of_racing_creates_one_wins(fixture) {
        for round in 0..ROUNDS {
            let key = format!("race/{round}");
            let puts = (0..RACERS).map(|at| {
                let key = &key;
                async move { put_if(fixture.racer(at), key, &format!("racer {at}"), Condition::Absent).await }
            });
            let won = futures::future::join_all(puts).await;
            assert_eq!(won.iter().filter(|won| **won).count(), 1, "exactly one create wins");
            let at = won.iter().position(|won| *won).expect("one won");
            assert_eq!(text(&*fixture.store, &key).await, Some(format!("racer {at}")));
        }
    }

    async fn of_racing_updates_one_wins(fixture) {
        put(&*fixture.store, "race/update", "at first").await;
        for round in 0..ROUNDS {
            let before = version(&*fixture.store, "race/update").await;
            let puts = (0..RACERS).map(|at| {
                let condition = Condition::Matches(before.clone());
                let text = format!("round {round} racer {at}");
                async move { put_if(fixture.racer(at), "race/update", &text, condition).await }
            });
            let won = futures::future::join_all(puts).await;
            assert_eq!(won.iter().filter(|won| **won).count(), 1, "exactly one update wins");
            let at = won.iter().position(|won| *won).expect("one won");
            assert_eq!(text(&*fixture.other, "race/update").await, Some(format!("round {round} racer {at}")));
        }
    }

    async fn readers_see_one_put_or_another(fixture) {
        let contents = [vec![b'a'; 400_000], vec![b'b'; 300_000]].map(Bytes::from);
        let write = async |content: &Bytes| {
            fixture.store.put("whole", content.clone(), Condition::Any, Durability::MayBeLost).await.expect("put")
        };
        write(&contents[0]).await;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let reader = async {
            let mut reads = 0;
            while !*stopped.borrow() {
                let found = fixture.other.get("whole").await.expect("get").expect("it is always there").0;
                assert!(contents.contains(&found), "{} bytes are neither of both", found.len());
                reads += 1;
                // A store in memory answers without waiting for anything.
                tokio::task::yield_now().await;
            }
            reads
        };
        let writer = async {
            for at in 0..30 {
                write(&contents[at % 2]).await;
            }
            stop.send(true).expect("the reader still reads");
        };
        let (reads, ()) = tokio::join!(reader, writer);
        assert!(reads > 0);
    }

    async fn a_list_names_what_lies_directly_below(fixture) {
        let store = &*fixture.store;
        for key in ["a/one", "a/two/x", "a/two/y", "ab/three", "a/four/five/six"] {
            put(store, key, key).await;
        }
        assert_eq!(names(&*fixture.other, "a").await, ["four", "one", "two"]);
        assert_eq!(names(store, "a/two").await, ["x", "y"]);
        store.delete("a/two/x").await.expect("delete");
        store.delete("a/two/y").await.expect("delete");
        assert_eq!(names(store, "a").await, ["four", "one"], "a folder goes with its last object");
        put(store, "a/two/z", "again").await;
        assert_eq!(names(store, "a/two").await, ["z"]);
    }

    async fn more_names_than_a_page_are_all_listed(fixture) {
        let store = &fixture.store;
        let put = async |number: u32| {
            store.put(&format!("many/{number}"), Bytes::new(), Condition::Absent, Durability::MayBeLost).await
        };
        let written: Vec<bool> =
            futures::stream::iter(0..1100).map(put).buffer_unordered(16).try_collect().await.expect("put");
        assert!(written.into_iter().all(|written| written));
        let names = fixture.other.list("many").await.expect("list");
        let numbers: BTreeSet<u32> = names.iter().map(|name| name.parse().expect("a number")).collect();
        assert_eq!((names.len(), numbers), (1100, (0..1100).collect()));
        store.delete_all("many").await.expect("delete_all");
        assert_eq!(fixture.other.list("many").await.expect("list"), Vec::<String>::new());
    }

    async fn what_lies_below_a_folder_is_listed_at_any_depth(fixture) {
        for key in ["r/1/a", "r/1/b/c", "r/1/b/d/e", "r/10/a", "r/2"] {
            put(&*fixture.store, key, key).await;
        }
        let below = async |folder: &str| {
            let found = fixture.other.list_all(folder).await.expect("list_all");
            found.into_iter().collect::<BTreeSet<_>>()
        };
        assert_eq!(below("r/1").await, ["a", "b/c", "b/d/e"].map(str::to_owned).into());
        assert_eq!(below("r").await.len(), 5);
        assert_eq!(below("no").await, BTreeSet::new());
    }

    async fn a_folder_is_removed_and_nothing_beside_it(fixture) {
        let store = &*fixture.store;
        for key in ["r/1/a", "r/1/b/c", "r/10/a", "r/2"] {
            put(store, key, key).await;
        }
        store.delete_all("r/1").await.expect("delete_all");
        assert_eq!(names(&*fixture.other, "r").await, ["10", "2"]);
        assert_eq!(text(store, "r/10/a").await.as_deref(), Some("r/10/a"));
        assert_eq!(text(store, "r/1/b/c").await, None);
    }

    async fn a_link_is_moved_as_a_whole(fixture) {
        let (store, other) = (&*fixture.store, &*fixture.other);
        store.link("current/a/b", "repositories/1").await.expect("link");
        assert_eq!(other.read_link("current/a/b").await.expect("read_link").as_deref(), Some("repositories/1"));
        store.link("current/a/b", "repositories/2").await.expect("link");
        assert_eq!(other.read_link("current/a/b").await.expect("read_link").as_deref(), Some("repositories/2"));
        assert_eq!(names(other, "current/a").await, ["b"]);
        other.delete("current/a/b").await.expect("delete");
        assert_eq!(store.read_link("current/a/b").await.expect("read_link"), None);
    }

    async fn a_journal_is_read_whole_and_then_as_it_grows(fixture) {
        let (store, other) = (&*fixture.store, &*fixture.other);
        let (mut early, mut expected) = (Reader::default(), Vec::new());
        for at in 0..40u32 {
            // Large entries among small ones: a journal is folded several times.
            let entry = vec![at as u8; if at % 7 == 6 { 30_000 } else { 11 }];
            expected.extend_from_slice(&entry);
            fixture.racer(at as usize).journal("ledger", entry.into(), joining()).await.expect("journal");
            if at % 3 == 0 {
                assert!(early.read(other, "ledger").await == expected, "after entry {at}");
            }
            assert!(Reader::default().read(store, "ledger").await == expected, "after entry {at}, read anew");
        }
        assert!(early.read(store, "ledger").await == expected, "a mark of one handle is good for another");
        let mark = early.mark.clone();
        assert!(mark.is_some(), "there is something to go on from");
        let again = store.read_journal("ledger", mark.as_ref()).await.expect("read_journal");
        assert_eq!((again.base, again.entries.len(), again.mark), (Base::Known, 0, mark), "nothing is read twice");
    }

    async fn a_mark_of_what_was_removed_is_not_taken(fixture) {
        let store = &*fixture.store;
        let mut reader = Reader::default();
        store.journal("r/ledger", Bytes::from_static(b"first"), joining()).await.expect("journal");
        assert_eq!(reader.read(store, "r/ledger").await, b"first");
        fixture.other.delete_all("r").await.expect("delete_all");
        assert_eq!(reader.read(store, "r/ledger").await, b"");
        fixture.other.journal("r/ledger", Bytes::from_static(b"another one"), joining()).await.expect("journal");
        assert_eq!(reader.read(store, "r/ledger").await, b"another one");
    }

    async fn of_racing_journal_entries_none_is_lost(fixture) {
        let appended = (0..RACERS as u8).map(|at| async move {
            fixture.racer(usize::from(at)).journal("ledger", vec![at].into(), joining()).await
        });
        futures::future::try_join_all(appended).await.expect("journal");
        let mut reader = Reader::default();
        let mut found = reader.read(&*fixture.store, "ledger").await.to_vec();
        found.sort_unstable();
        assert_eq!(found, (0..RACERS as u8).collect::<Vec<_>>());
    }

    async fn a_fold_that_fails_changes_nothing(fixture) {
        let store = &*fixture.store;
        let large = vec![1; 100_000];
        store.journal("ledger", Bytes::from_static(b"first"), joining()).await.expect("journal");
        store.journal("ledger", large.clone().into(), joining()).await.expect("journal");
        let failing: Fold = Arc::new(|_, _| Err(Error::new(ErrorKind::Corrupt, "fold", "ledger", "on purpose")));
        for _ in 0..3 {
            let failed: Result<()> = store.journal("ledger", Bytes::from_static(b"lost"), Arc::clone(&failing)).await;
            assert_eq!(failed.expect_err("the fold fails").kind(), ErrorKind::Corrupt);
        }
        let mut expected = [&b"first"[..], &large].concat();
        let mut reader = Reader::default();
        assert!(reader.read(&*fixture.other, "ledger").await == expected);
        store.journal("ledger", Bytes::from_static(b"last"), joining()).await.expect("journal");
        expected.extend_from_slice(b"last");
        assert!(reader.read(&*fixture.other, "ledger").await == expected);
    }
}
