//! What only a real engine shows: its analyzers, its limits, its refusals.

use std::sync::Arc;

use gharvest_search::{
    Applied, ErrorKind, SearchIndex,
    document::{ItemDocument, ThreadDocuments},
    judged, sample, tokens,
};
use gharvest_search_elastic::{ElasticIndex, Options};
use gharvest_testkit::{
    SearchServer,
    search::{Make, search_server_of},
    search_server,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Mutex, oneshot},
};

use crate::{ensured, options};

fn plain(number: u64, body: String) -> ThreadDocuments {
    sample::thread(ItemDocument { body, ..sample::item(number) }, Vec::new(), Vec::new(), 1)
}

/// Texts of every sort: pieces of many alphabets put together at random, the same at each run.
fn texts() -> Vec<String> {
    const PIECES: [&str; 64] = [
        "crash",
        "Crashes",
        "crashing",
        "FooBarBaz",
        "XMLHttpRequest",
        "secp256k1_ecdsa_sign",
        "v1.2.3",
        "foo::bar",
        "src/lib.rs:10",
        "#123",
        "c++",
        "C#",
        "--no-default",
        "it's",
        "author's",
        "O'Neil's",
        "'s",
        "don't",
        "e.g.",
        "1,000.5",
        "0x1F",
        "sha256sum",
        "Straße",
        "naïve",
        "ÆON",
        "İstanbul",
        "ﬁnd",
        "Привет",
        "миру",
        "ΣΊΣΥΦΟΣ",
        "שלום",
        "مرحبا",
        "検索",
        "エンジン",
        "ひらがな",
        "한국어",
        "สวัสดีครับ",
        "हिन्दी",
        "x²",
        "½",
        "Ⅷ",
        "①",
        "😀",
        "👍🏽",
        "☕",
        "✅",
        "_",
        "__init__",
        "-",
        "...",
        "\u{a0}",
        "\u{200b}",
        "\t",
        "\n",
        "(",
        ")",
        "[x]",
        "@me",
        "https://a.example/b?c=d#e",
        "generalizations",
        "happily",
        "ponies",
        "flying",
        "𝒜bc",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    let mut texts: Vec<String> = PIECES.iter().map(|piece| (*piece).to_owned()).collect();
    texts.extend(["a".repeat(101), "b".repeat(256), "c".repeat(600), format!("x{} y", "-".repeat(300))]);
    for _ in 0..400 {
        let mut text = String::new();
        for _ in 0..random.usize(1..8) {
            text.push_str(PIECES[random.usize(..PIECES.len())]);
            text.push_str([" ", "", "", ".", "/", " "][random.usize(..6)]);
        }
        texts.push(text);
    }
    texts
}

#[tokio::test]
async fn the_engines_analyzers_give_the_tokens_of_ours() {
    let Some(url) = search_server("the_engines_analyzers_give_the_tokens_of_ours") else { return };
    let options = options(&url);
    ensured(&options).await;
    let client = reqwest::Client::new();
    let mut differences = Vec::new();
    for (analyzer, text) in texts().into_iter().flat_map(|text| [("words", text.clone()), ("ident", text)]) {
        let asked = json!({"analyzer": analyzer, "text": text});
        let path = format!("{url}/{}-items/_analyze", options.prefix);
        let answer: Value = client.post(path).json(&asked).send().await.unwrap().json().await.unwrap();
        let theirs: Vec<(String, u64)> = answer["tokens"]
            .as_array()
            .unwrap_or_else(|| panic!("{answer}"))
            .iter()
            .map(|token| (token["token"].as_str().unwrap().to_owned(), token["position"].as_u64().unwrap()))
            .collect();
        let token = |token: tokens::Token| (token.text, u64::from(token.position));
        let ours: Vec<_> = if analyzer == "words" {
            tokens::words(&text).map(token).collect()
        } else {
            tokens::ident(&text).map(token).collect()
        };
        if ours != theirs {
            differences.push(format!("{analyzer} {text:?}\n  engine {theirs:?}\n  ours   {ours:?}"));
        }
    }
    assert!(differences.is_empty(), "{} texts differ:\n{}", differences.len(), differences.join("\n"));
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_sent_in_halves_and_one_document_alone_is_refused() {
    let name = "a_batch_that_is_too_large_is_sent_in_halves_and_one_document_alone_is_refused";
    let limits = ["http.max_content_length=300kb", "indexing_pressure.memory.limit=200kb"];
    let Some(server) = SearchServer::start(name, &limits) else { return };
    let index = ensured(&options(server.url())).await;
    let mut threads: Vec<_> = (1..=40).map(|number| plain(number, "word ".repeat(4_000))).collect();
    let said = |number| vec![sample::comment(&sample::item(number), 0, "said")];
    threads.push(ThreadDocuments { comments: said(41), ..plain(41, "word ".repeat(100_000)) });
    threads.push(ThreadDocuments { comments: said(42), ..plain(42, "word".into()) });
    let applied = index.apply(threads).await.unwrap();
    assert!(applied[..40].iter().all(|one| *one == Applied::Written), "{applied:?}");
    assert!(matches!(&applied[40], Applied::Refused { id, .. } if id == "1:41"), "{:?}", applied[40]);
    index.commit().await.unwrap();
    let status = index.status().await.unwrap();
    assert_eq!(status.documents[0], ("gharvest-items".to_owned(), 41));
    assert_eq!(status.documents[1], ("gharvest-comments".to_owned(), 1), "nothing is written below a refused item");
    assert!(status.engine.starts_with("OpenSearch 2."), "{}", status.engine);
}

#[tokio::test]
async fn an_engine_without_room_or_without_shards_says_so_in_its_status() {
    let name = "an_engine_without_room_or_without_shards_says_so_in_its_status";
    let Some(url) = search_server(name) else { return };
    tell_of_trouble(&url).await;
}

#[tokio::test]
async fn an_elasticsearch_without_room_or_without_shards_says_so_in_its_status() {
    let name = "an_elasticsearch_without_room_or_without_shards_says_so_in_its_status";
    let Some(url) = search_server_of(name, Make::Elasticsearch8) else { return };
    tell_of_trouble(&url).await;
}

async fn tell_of_trouble(url: &str) {
    let options = options(url);
    let index = ensured(&options).await;
    assert_eq!(index.status().await.unwrap().trouble, None);
    let client = reqwest::Client::new();
    let put = async |path: &str, body: Value| {
        let path = format!("{url}/{}-{path}", options.prefix);
        client.put(path).json(&body).send().await.unwrap().error_for_status().unwrap();
    };
    // A shard that no node may hold; but not one of ours, or one that a rebuild brings back.
    let nowhere = json!({"index.routing.allocation.require._name": "nobody"});
    for other in ["other-items-v2-0", "operations-2026.11"] {
        put(&format!("{other}?wait_for_active_shards=0"), json!({"settings": nowhere})).await;
        put(&format!("{other}/_settings"), json!({"index.blocks.write": true})).await;
    }
    assert_eq!(index.status().await.unwrap().trouble, None);
    // What an engine does by itself when its disk is nearly full.
    put("items-all/_settings", json!({"index.blocks.read_only_allow_delete": true})).await;
    let trouble = index.status().await.unwrap().trouble.unwrap();
    assert!(trouble.found.contains("1 of the engine's indices") && trouble.found.contains("-items-v"), "{trouble:?}");
    put("items-all/_settings", json!({"index.blocks.read_only_allow_delete": null})).await;
    assert_eq!(index.status().await.unwrap().trouble, None);
    let all = format!("{url}/_alias/{}-items-all", options.prefix);
    let made: Value = client.get(all).send().await.unwrap().json().await.unwrap();
    let made = made.as_object().unwrap().keys().next().unwrap();
    client.delete(format!("{url}/{made}")).send().await.unwrap().error_for_status().unwrap();
    let aliases = json!({format!("{}-items", options.prefix): {}});
    put("items-v2-1?wait_for_active_shards=0", json!({"settings": nowhere, "aliases": aliases})).await;
    let trouble = index.status().await.unwrap().trouble.unwrap();
    assert!(trouble.found.contains("shards are missing"), "{trouble:?}");
}

#[tokio::test]
async fn two_processes_may_make_the_same_index_at_once() {
    let Some(url) = search_server("two_processes_may_make_the_same_index_at_once") else { return };
    let options = options(&url);
    let (one, other) = (ElasticIndex::open(&options).await.unwrap(), ElasticIndex::open(&options).await.unwrap());
    let (first, second) = tokio::join!(one.ensure("archive"), other.ensure("archive"));
    first.unwrap();
    second.unwrap();
    assert_eq!(one.apply(vec![plain(1, "x".into())]).await.unwrap(), [Applied::Written]);
    assert_eq!(other.apply(vec![plain(1, "x".into())]).await.unwrap(), [Applied::Written]);
}

#[tokio::test]
async fn a_thread_is_the_same_whichever_of_two_writers_comes_last() {
    let Some(url) = search_server("a_thread_is_the_same_whichever_of_two_writers_comes_last") else { return };
    let options = options(&url);
    let index = ensured(&options).await;
    let item = sample::item(1);
    let version = |version: u64, comments: u32| {
        let comments = (0..comments).map(|ordinal| sample::comment(&item, ordinal as usize, "text")).collect();
        sample::thread(item.clone(), comments, Vec::new(), version)
    };
    let other = ElasticIndex::open(&options).await.unwrap();
    for round in 0..5 {
        let (older, newer) = (version(round * 2 + 1, 30), version(round * 2 + 2, round as u32));
        let expected = newer.digests();
        let (_older, newer) = tokio::join!(index.apply(vec![older]), other.apply(vec![newer]));
        assert_eq!(newer.unwrap(), [Applied::Written]);
        index.commit().await.unwrap();
        let stored = index.thread(item.id()).await.unwrap().unwrap();
        assert_eq!(stored.documents, expected, "round {round}");
    }
}

/// A way to an engine on which the first bulk request waits until it may go on: who is told that it waits, and the word.
async fn with_a_late_bulk(server: &str) -> (String, oneshot::Receiver<()>, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let behind = server.strip_prefix("http://").unwrap().to_owned();
    let (waits, is_waiting) = oneshot::channel();
    let (go_on, may_go_on) = oneshot::channel();
    let gate = Arc::new(Mutex::new(Some((waits, may_go_on))));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (gate, server) = (gate.clone(), TcpStream::connect(&behind).await.unwrap());
            let ((mut asked, mut told), (mut answered, mut ask)) = (stream.into_split(), server.into_split());
            tokio::spawn(async move { drop(tokio::io::copy(&mut answered, &mut told).await) });
            tokio::spawn(async move {
                let mut bytes = vec![0; 64 << 10];
                while let Ok(count @ 1..) = asked.read(&mut bytes).await {
                    if bytes[..count].starts_with(b"POST /_bulk")
                        && let Some((waits, may_go_on)) = gate.lock().await.take()
                    {
                        waits.send(()).unwrap();
                        may_go_on.await.unwrap();
                    }
                    if ask.write_all(&bytes[..count]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, is_waiting, go_on)
}

#[tokio::test]
async fn nothing_is_left_of_who_wrote_between_a_newer_writers_look_and_its_write() {
    let name = "nothing_is_left_of_who_wrote_between_a_newer_writers_look_and_its_write";
    let Some(server) = search_server(name) else { return };
    let (late, is_waiting, go_on) = with_a_late_bulk(&server).await;
    let direct = options(&server);
    let index = ensured(&direct).await;
    let newer = ElasticIndex::open(&Options { urls: late, ..direct }).await.unwrap();
    let item = sample::item(1);
    let version = |version: u64, comments: usize| {
        let comments = (0..comments).map(|ordinal| sample::comment(&item, ordinal, "text")).collect();
        sample::thread(item.clone(), comments, Vec::new(), version)
    };
    let expected = version(2, 3).digests();
    let overtaken = async {
        is_waiting.await.unwrap();
        assert_eq!(index.apply(vec![version(1, 250)]).await.unwrap(), [Applied::Written]);
        go_on.send(()).unwrap();
    };
    let (written, ()) = tokio::join!(newer.apply(vec![version(2, 3)]), overtaken);
    assert_eq!(written.unwrap(), [Applied::Written]);
    index.commit().await.unwrap();
    assert_eq!(index.thread(item.id()).await.unwrap().unwrap().documents, expected);
}

/// A refresh for each batch would cost a good part of its write.
#[tokio::test]
async fn new_threads_are_written_without_a_refresh() {
    let name = "new_threads_are_written_without_a_refresh";
    let engines = [search_server(name), search_server_of(name, Make::Elasticsearch8)];
    for url in engines.into_iter().flatten() {
        let options = options(&url);
        let index = ensured(&options).await;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let never = json!({"index": {"refresh_interval": "-1"}});
        let settings = format!("{url}/{}-items-all/_settings", options.prefix);
        client.put(settings).json(&never).send().await.unwrap().error_for_status().unwrap();
        let refreshes = async || {
            let stats = format!("{url}/{}-items-all/_stats/refresh", options.prefix);
            let stats: Value = client.get(stats).send().await.unwrap().json().await.unwrap();
            stats["_all"]["total"]["refresh"]["total"].as_u64().unwrap()
        };
        let before = refreshes().await;
        for batch in 0..3 {
            let threads: Vec<_> = (1..=10).map(|number| plain(batch * 10 + number, "text".into())).collect();
            assert_eq!(index.apply(threads).await.unwrap(), vec![Applied::Written; 10]);
        }
        assert_eq!(refreshes().await, before, "{url}");
    }
}

#[tokio::test]
async fn what_is_no_engine_is_refused_with_a_sentence() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = ElasticIndex::open(&options(&url)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("[search] url"), "{error}");
    let error = ElasticIndex::open(&options("no address")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
}

#[tokio::test]
async fn a_recorded_repository_is_accepted_whole() {
    let name = "a_recorded_repository_is_accepted_whole";
    let Some(url) = search_server(name) else { return };
    accept_recorded(name, url).await;
}

#[tokio::test]
async fn a_recorded_repository_is_accepted_whole_by_elasticsearch() {
    let name = "a_recorded_repository_is_accepted_whole_by_elasticsearch";
    let Some(url) = search_server_of(name, Make::Elasticsearch8) else { return };
    accept_recorded(name, url).await;
}

async fn accept_recorded(name: &str, url: String) {
    let Some(folder) = gharvest_testkit::recorded_data(name) else { return };
    let threads = judged::documents(&judged::records(&folder));
    let count = |thread: &ThreadDocuments| 1 + thread.comments.len() + thread.events.len() + thread.intervals.len();
    let documents: usize = threads.iter().map(count).sum();
    let index = ensured(&options(&url)).await;
    let begin = std::time::Instant::now();
    for batch in threads.chunks(50) {
        let applied = index.apply(batch.to_vec()).await.unwrap();
        assert!(applied.iter().all(|one| *one == Applied::Written), "{applied:?}");
    }
    index.commit().await.unwrap();
    let seconds = begin.elapsed().as_secs_f64();
    eprintln!(
        "{documents} documents of {} items in {seconds:.1} s: {:.0}/s",
        threads.len(),
        documents as f64 / seconds
    );
    let stored: u64 = index.status().await.unwrap().documents.iter().map(|(_, count)| count).sum();
    assert_eq!(stored, documents as u64);
    for thread in threads.iter().step_by(20) {
        let stored = index.thread(thread.item.id()).await.unwrap().unwrap();
        assert_eq!((stored.documents, stored.digest), (thread.digests(), thread.digest.clone()), "{}", thread.item.key);
    }
}

#[tokio::test]
async fn what_people_look_for_comes_first_and_duplicates_see_their_originals() {
    let name = "what_people_look_for_comes_first_and_duplicates_see_their_originals";
    let Some(url) = search_server(name) else { return };
    let twin = judged::twin();
    let index = ensured(&options(&url)).await;
    index.apply(twin.threads).await.unwrap();
    index.commit().await.unwrap();
    assert_eq!(judged::unmet(index.as_ref(), &twin.rankings).await, [""; 0]);
    let unseen = judged::unseen_originals(index.as_ref(), &twin.duplicates).await;
    assert!(unseen.len() * 10 <= twin.duplicates.len() * 4, "{} of {}", unseen.len(), twin.duplicates.len());

    let Some(folder) = gharvest_testkit::recorded_data(name) else { return };
    let records = judged::records(&folder);
    let index = ensured(&options(&url)).await;
    for batch in judged::documents(&records).chunks(50) {
        index.apply(batch.to_vec()).await.unwrap();
    }
    index.commit().await.unwrap();
    let (rankings, duplicates) = (judged::rankings(), judged::duplicates(&records));
    let unmet = judged::unmet(index.as_ref(), &rankings).await;
    let unseen = judged::unseen_originals(index.as_ref(), &duplicates).await;
    eprintln!("{} of {} judgements are met", rankings.len() - unmet.len(), rankings.len());
    eprintln!("{} of {} duplicates see their originals", duplicates.len() - unseen.len(), duplicates.len());
    assert!(rankings.len() - unmet.len() >= 40, "{} of {}:\n{}", unmet.len(), rankings.len(), unmet.join("\n"));
    assert!(unseen.len() * 10 <= duplicates.len() * 4, "{} of {}: {unseen:?}", unseen.len(), duplicates.len());
}

#[tokio::test]
async fn an_index_of_an_earlier_mapping_is_said_and_takes_new_documents_until_it_is_rebuilt() {
    let name = "an_index_of_an_earlier_mapping_is_said_and_takes_new_documents_until_it_is_rebuilt";
    let Some(url) = search_server(name) else { return };
    let options = options(&url);
    let index: Arc<dyn SearchIndex> = ElasticIndex::open(&options).await.unwrap();
    index.ensure("archive").await.unwrap();
    assert!(!index.status().await.unwrap().outdated);
    // As earlier versions made them: without these fields.
    let client = reqwest::Client::new();
    for (sort, field) in [("intervals", "hours"), ("comments", "extra"), ("events", "extra")] {
        age(&url, &options.prefix, sort, field).await;
    }
    let items = format!("{url}/{}-items-all/_mapping", options.prefix);
    let meta = json!({"_meta": {"gharvest": {"archive": "archive", "mapping": 1}}});
    client.put(items).json(&meta).send().await.unwrap().error_for_status().unwrap();

    let index: Arc<dyn SearchIndex> = ElasticIndex::open(&options).await.unwrap();
    index.ensure("archive").await.unwrap();
    assert!(index.status().await.unwrap().outdated);
    let mut item = sample::item(1);
    item.event_documents = 1;
    let mut interval = sample::interval(&item, 0, "label", "bug");
    interval.hours = Some(2.5);
    let mut comment = sample::comment(&item, 0, "Nothing");
    comment.extra = serde_json::from_value(json!({"line": 5, "part.one": {"": 1}})).unwrap();
    let mut event = sample::event(&item, 0, "locked");
    event.extra = comment.extra.clone();
    let thread = |version| {
        let mut thread = sample::thread(item.clone(), vec![comment.clone()], vec![interval.clone()], version);
        thread.events = vec![event.clone()];
        thread
    };
    assert_eq!(index.apply(vec![thread(1)]).await.unwrap(), [Applied::Written]);
    let rebuild = index.begin_rebuild("archive").await.unwrap();
    assert_eq!(index.apply(vec![thread(2)]).await.unwrap(), [Applied::Written]);
    rebuild.finish().await.unwrap();
    assert!(!index.status().await.unwrap().outdated);
    let stored = index.thread(item.id()).await.unwrap().unwrap();
    assert_eq!(stored.documents, thread(2).digests());
}

/// The index that a name leads to, and all that it says of itself.
async fn described(client: &reqwest::Client, url: &str, alias: &str) -> (String, Value) {
    let answer: Value = client.get(format!("{url}/{alias}")).send().await.unwrap().json().await.unwrap();
    let described = answer.as_object().unwrap().iter().next();
    described.map(|(name, it)| (name.clone(), it.clone())).unwrap()
}

/// Replaces an index by one called `name` that differs in its mapping, and has no documents.
async fn replace(url: &str, alias: &str, name: Option<String>, change: impl FnOnce(&mut Value)) {
    let client = reqwest::Client::new();
    let (made, mut described) = described(&client, url, alias).await;
    change(&mut described);
    let analysis = &described["settings"]["index"]["analysis"];
    let body = json!({
        "settings": {"index": {"analysis": analysis}},
        "mappings": described["mappings"],
        "aliases": described["aliases"],
    });
    client.delete(format!("{url}/{made}")).send().await.unwrap().error_for_status().unwrap();
    let name = name.unwrap_or(made);
    client.put(format!("{url}/{name}")).json(&body).send().await.unwrap().error_for_status().unwrap();
}

fn forget_field(described: &mut Value, field: &str) {
    described["mappings"]["properties"].as_object_mut().unwrap().shift_remove(field).unwrap();
}

/// Replaces the index of a sort by one of mapping 1 that has all its fields but one.
async fn age(url: &str, prefix: &str, sort: &str, field: &str) {
    let old = format!("{prefix}-{sort}-v1-0");
    replace(url, &format!("{prefix}-{sort}-all"), Some(old), |described| {
        forget_field(described, field);
        described["mappings"]["_meta"]["gharvest"]["mapping"] = json!(1);
    })
    .await;
}

/// A thread with a comment that says more than older mappings have.
fn with_extra(number: u64) -> ThreadDocuments {
    let item = sample::item(number);
    let mut comment = sample::comment(&item, 0, "Nothing");
    comment.extra = serde_json::from_value(json!({"line": 5})).unwrap();
    sample::thread(item, vec![comment], Vec::new(), 1)
}

#[tokio::test]
async fn what_the_index_being_built_refuses_is_told_and_what_only_the_old_one_refuses_is_not() {
    let name = "what_the_index_being_built_refuses_is_told_and_what_only_the_old_one_refuses_is_not";
    let Some(url) = search_server(name) else { return };
    let options = options(&url);
    let index = ensured(&options).await;
    let next = format!("{}-comments-next", options.prefix);
    let rebuild = index.begin_rebuild("archive").await.unwrap();
    replace(&url, &next, None, |described| forget_field(described, "extra")).await;
    let of_comment = |one: &Applied| matches!(one, Applied::Refused { id, .. } if id.ends_with(":c0"));
    // Live writes hear both, a rebuild the new index.
    let live = index.apply(vec![with_extra(1), plain(2, "x".into())]).await.unwrap();
    assert!(of_comment(&live[0]) && live[1] == Applied::Written, "{live:?}");
    let filled = rebuild.index().apply(vec![with_extra(3), plain(4, "x".into())]).await.unwrap();
    assert!(of_comment(&filled[0]) && filled[1] == Applied::Written, "{filled:?}");

    let rebuild = index.begin_rebuild("archive").await.unwrap();
    let all = format!("{}-comments-all", options.prefix);
    replace(&url, &all, None, |described| forget_field(described, "extra")).await;
    assert_eq!(rebuild.index().apply(vec![with_extra(5)]).await.unwrap(), [Applied::Written]);
    assert!(of_comment(&index.apply(vec![with_extra(6)]).await.unwrap()[0]));
}

#[tokio::test]
async fn an_index_that_is_lost_or_missing_is_built_anew() {
    let name = "an_index_that_is_lost_or_missing_is_built_anew";
    for url in [search_server(name), search_server_of(name, Make::Elasticsearch8)].into_iter().flatten() {
        let options = options(&url);
        let index = ensured(&options).await;
        index.apply(vec![plain(1, "x".into())]).await.unwrap();
        let client = reqwest::Client::new();
        // A shard that no node may hold, as after the loss of a disk.
        let items = format!("{}-items-all", options.prefix);
        let (lost, mut described) = described(&client, &url, &items).await;
        client.delete(format!("{url}/{lost}")).send().await.unwrap().error_for_status().unwrap();
        described["settings"] = json!({"index.routing.allocation.require._name": "nobody"});
        described["mappings"] = json!({"_meta": described["mappings"]["_meta"]});
        let path = format!("{url}/{lost}?wait_for_active_shards=0");
        client.put(path).json(&described).send().await.unwrap().error_for_status().unwrap();
        assert!(index.status().await.unwrap().trouble.is_some());
        rebuilt(index.as_ref()).await;
        // And with nothing left of it.
        for sort in ["items", "comments", "events", "intervals", "daily", "repositories", "releases"] {
            let (made, _) = self::described(&client, &url, &format!("{}-{sort}-all", options.prefix)).await;
            client.delete(format!("{url}/{made}")).send().await.unwrap().error_for_status().unwrap();
        }
        let told = index.apply(vec![plain(1, "x".into())]).await.unwrap_err();
        assert!(told.to_string().contains("gharvest rebuild"), "{told}");
        rebuilt(index.as_ref()).await;
    }
}

async fn rebuilt(index: &dyn SearchIndex) {
    let rebuild = index.begin_rebuild("archive").await.unwrap();
    assert_eq!(rebuild.index().apply(vec![plain(1, "x".into())]).await.unwrap(), [Applied::Written]);
    rebuild.index().commit().await.unwrap();
    rebuild.finish().await.unwrap();
    let status = index.status().await.unwrap();
    assert_eq!((status.trouble, status.rebuilding), (None, false));
    assert_eq!(status.documents[0], ("gharvest-items".to_owned(), 1));
}

/// Who looked where to write before the swap, and wrote after it.
#[tokio::test]
async fn a_write_that_the_swap_overtakes_is_in_the_new_index() {
    let name = "a_write_that_the_swap_overtakes_is_in_the_new_index";
    let Some(url) = search_server(name) else { return };
    let index = ensured(&options(&url)).await;
    let rebuild = index.begin_rebuild("archive").await.unwrap();
    rebuild.finish().await.unwrap();
    assert_eq!(rebuild.index().apply(vec![plain(1, "x".into())]).await.unwrap(), [Applied::Written]);
    assert!(index.thread(sample::item(1).id()).await.unwrap().is_some());
}
