//! What becomes of deliveries.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use gharvest_archive::{Options, store::faulty::Fault as StoreFault};
use gharvest_model::{ItemId, Kind, Record, RepositoryId, record::RecordRepository};
use gharvest_queue::faulty::Fault;
use gharvest_webhook_receiver::{Receiver, router};
use serde_json::{Value, json};

use crate::scene::{HangingQueue, Log, SECRET, Scene, TRACKED, issue, send, settings, signed, track, unsigned};

#[tokio::test]
async fn an_event_is_accepted_once_and_on_both_paths() {
    let scene = Scene::new().await;
    assert_eq!(scene.deliver("issues", "d-1", &issue("opened")).await.said(), (202, "queued"));
    assert_eq!(scene.deliver("issues", "d-1", &issue("opened")).await.said(), (202, "duplicate"));
    let mut old_path = signed("issues", "d-2", issue("labeled").to_string().into_bytes(), SECRET);
    *old_path.uri_mut() = "/webhooks/github/receive".parse().unwrap();
    assert_eq!(scene.send(old_path).await.said(), (202, "queued"));
    assert_eq!((scene.jobs().await, scene.triggers().await), (vec!["9#4".to_owned()], 2));
}

/// No list of labels ever says what one was called between two of its renames.
#[tokio::test]
async fn a_renamed_label_is_remembered_by_the_name_it_had() {
    let scene = Scene::new().await;
    let id = RepositoryId(TRACKED);
    let repository =
        json!({"id": TRACKED, "full_name": "octo/box", "repository": {}, "fetched_at": "2026-01-01T00:00:00Z"});
    scene.archive.put_repository(&serde_json::from_value(repository).unwrap()).await.unwrap();
    let renamed = |from: &str, to: &str| {
        json!({"action": "edited", "repository": {"id": TRACKED, "full_name": "octo/box"}, "label": {"id": 5, "name": to},
            "changes": {"name": {"from": from}}})
    };
    for (delivery, payload) in [
        ("d-1", renamed("bug", "defect")),
        ("d-2", renamed("defect", "kind: bug")),
        ("d-2", renamed("defect", "kind: bug")),
    ] {
        assert_eq!(scene.deliver("label", delivery, &payload).await.said().0, 202);
    }
    assert_eq!(scene.jobs().await, ["9/labels", "9/updates"]);
    let renames = scene.archive.repository(id).await.unwrap().unwrap().label_renames;
    let then = "2026-01-01T00:00:00Z".parse().unwrap();
    assert_eq!((renames.name_now("bug", then), renames.name_now("defect", then)), ("kind: bug", "kind: bug"));

    // The job of the labels finds them, though the lists are the same before and after.
    let labels = json!([{"id": 5, "name": "kind: bug"}]);
    scene.archive.put_part(id, "labels", &labels).await.unwrap();
    let found = scene.archive.learn_label_renames(id, &labels, then).await.unwrap().unwrap();
    scene.archive.settle_label_renames(id, &found).await.unwrap();
    assert_eq!(scene.archive.learn_label_renames(id, &labels, then).await.unwrap(), None);
}

#[tokio::test]
async fn without_the_queue_a_delivery_waits_in_the_inbox() {
    let scene = Scene::new().await;
    scene.queue_away(2);
    let edited = json!({"changes": {"title": {"from": "old"}}});
    let mut payload = issue("edited");
    payload.as_object_mut().unwrap().extend(edited.as_object().unwrap().clone());
    for _ in 0..2 {
        assert_eq!(scene.deliver("issues", "d-1", &payload).await.said(), (202, "spooled"));
    }
    assert_eq!(scene.triggers().await, 0);
    let inbox = scene.inbox().await;
    let mut ids: Vec<_> = inbox.iter().map(|entry| entry.fact.delivery.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["d-1", "d-1-spool"], "the facts have an entry of their own");
    let spooled = inbox.iter().find(|entry| entry.item.is_none()).unwrap();
    assert_eq!(spooled.triggers[0]["subject"], "9#4");
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_does_not_answer_counts_as_away_before_github_gives_up() {
    let scene = Scene::new().await;
    let settings = settings(&[("GHARVEST_WEBHOOK__SECRETS", SECRET)]);
    let hanging = router(Receiver::new(Arc::new(HangingQueue), scene.archive.clone(), settings.untracked), &settings);
    let begun = tokio::time::Instant::now();
    let answer = send(&hanging, signed("issues", "d-1", issue("opened").to_string().into_bytes(), SECRET)).await;
    assert_eq!(answer.said(), (202, "spooled"));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// Whoever waits holds a connection, and there are only so many: the others must not wait for what is known already.
#[tokio::test(start_paused = true)]
async fn a_queue_that_hangs_is_waited_for_by_one_delivery_at_a_time() {
    let scene = Scene::new().await;
    let settings = settings(&[("GHARVEST_WEBHOOK__SECRETS", SECRET)]);
    let hanging = router(Receiver::new(Arc::new(HangingQueue), scene.archive.clone(), settings.untracked), &settings);
    let deliver = async |number: u64| {
        let begun = tokio::time::Instant::now();
        let delivery = signed("issues", &format!("d-{number}"), issue("opened").to_string().into_bytes(), SECRET);
        assert_eq!(send(&hanging, delivery).await.said(), (202, "spooled"));
        begun.elapsed()
    };
    assert!(deliver(1).await >= Duration::from_secs(3), "nobody knew yet");
    for number in 2..=20 {
        assert!(deliver(number).await < Duration::from_secs(1), "{number} waited");
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    let (tried, at_once) = tokio::join!(deliver(21), deliver(22));
    assert!(tried >= Duration::from_secs(3) && at_once < Duration::from_secs(1), "{tried:?} {at_once:?}");
    assert_eq!(scene.inbox().await.len(), 22);
}

#[tokio::test]
async fn without_queue_and_inbox_github_is_asked_to_send_again_and_nothing_was_done() {
    let full = Options { inbox_limit: 0, ..Options::default() };
    let scene = Scene::with_archive(&[("GHARVEST_WEBHOOK__SECRETS", SECRET)], &full).await;
    scene.queue_away(1);
    let answer = scene.deliver("issues", "d-1", &issue("opened")).await;
    assert_eq!((answer.said(), answer.retry_after.as_deref()), ((503, "not_durable"), Some("30")));
    assert_eq!((scene.triggers().await, scene.inbox().await.len()), (0, 0));
    // Sent again, it is a delivery like any other.
    assert_eq!(scene.deliver("issues", "d-1", &issue("opened")).await.said(), (202, "queued"));
}

#[tokio::test]
async fn facts_that_find_no_room_are_asked_for_again_and_their_download_does_not_wait() {
    let full = Options { inbox_limit: 0, ..Options::default() };
    let scene = Scene::with_archive(&[("GHARVEST_WEBHOOK__SECRETS", SECRET)], &full).await;
    let mut deleted = issue("deleted");
    deleted["comment"] = json!({"id": 5, "body": "gone"});
    assert_eq!(scene.deliver("issue_comment", "d-2", &deleted).await.said(), (503, "not_durable"));
    assert_eq!((scene.triggers().await, scene.jobs().await), (1, vec!["9#4".to_owned()]));
    assert_eq!(
        scene.deliver("issue_comment", "d-2", &deleted).await.said(),
        (503, "not_durable"),
        "it is no duplicate"
    );
}

#[tokio::test]
async fn a_lost_reply_of_the_queue_makes_no_second_trigger() {
    let scene = Scene::new().await;
    scene.faulty.fail_next(Fault::After);
    assert_eq!(scene.deliver("issues", "d-1", &issue("opened")).await.said(), (202, "spooled"));
    assert_eq!(scene.deliver("issues", "d-1", &issue("opened")).await.said(), (202, "duplicate"));
    assert_eq!(scene.triggers().await, 1);
}

#[tokio::test]
async fn facts_are_kept_before_the_answer() {
    let scene = Scene::new().await;
    let mut payload = issue("transferred");
    payload["changes"] = json!({"new_issue": {"number": 8}, "new_repository": {"id": 77, "full_name": "octo/other"}});
    assert_eq!(scene.deliver("issues", "d-1", &payload).await.said(), (202, "queued"));
    let facts = scene.archive.inbox(ItemId { repository: RepositoryId(TRACKED), number: 4 }).await.unwrap();
    assert_eq!(facts[0].fact.facts["changes"]["new_issue"]["number"], 8);
    assert_eq!(facts[0].fact.actor.as_deref(), Some("ann"));
    assert_eq!(scene.jobs().await, ["9#4"], "the new place is not tracked");
}

#[tokio::test]
async fn facts_that_come_again_after_they_were_merged_do_not_wait() {
    let scene = Scene::new().await;
    let mut payload = issue("edited");
    payload["changes"] = json!({"title": {"from": "old"}});
    scene.deliver("issues", "d-1", &payload).await;
    // As the downloader does: into the record, then out of the inbox.
    let entry = scene.inbox().await.remove(0);
    let repository = RecordRepository { id: RepositoryId(TRACKED), full_name: "octo/box".parse().unwrap() };
    let mut record = Record::new(repository, 4, Kind::Issue, entry.fact.received_at);
    record.issue = Some(json!({"number": 4}));
    record.kept.push(entry.fact);
    scene.archive.put_record(record).await.unwrap();
    scene.archive.remove_inbox("d-1").await.unwrap();
    assert_eq!(scene.deliver("issues", "d-1", &payload).await.said(), (202, "duplicate"));
    assert_eq!(scene.inbox().await, []);
}

#[tokio::test]
async fn forms_are_read_and_signed_as_they_are_sent() {
    let scene = Scene::new().await;
    let json = issue("opened").to_string();
    let body = format!("payload={}", form_urlencoded::byte_serialize(json.as_bytes()).collect::<String>());
    let mut request = signed("issues", "d-1", body.into_bytes(), SECRET);
    request.headers_mut().insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
    assert_eq!(scene.send(request).await.said(), (202, "queued"));
}

#[tokio::test]
async fn signatures_decide() {
    let scene = Scene::with(&[("GHARVEST_WEBHOOK__SECRETS", "old-one,correct-horse")]).await;
    let body = issue("opened").to_string().into_bytes();
    for secret in ["old-one", SECRET] {
        assert_eq!(scene.send(signed("issues", secret, body.clone(), secret)).await.said(), (202, "queued"));
    }
    assert_eq!(scene.send(signed("issues", "d-3", body.clone(), "wrong")).await.status.as_u16(), 403);
    let none = unsigned("issues", "d-4").body(Body::from(body.clone())).unwrap();
    assert_eq!(scene.send(none).await.status.as_u16(), 401);
    let sha1 = unsigned("issues", "d-5").header("x-hub-signature", "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59");
    assert_eq!(scene.send(sha1.body(Body::from(body.clone())).unwrap()).await.status.as_u16(), 401);
    assert_eq!(scene.triggers().await, 2);

    let open = Scene::with(&[("GHARVEST_WEBHOOK__SECRETS", "")]).await;
    let none = unsigned("issues", "d-6").body(Body::from(body)).unwrap();
    let answer = open.send(none).await;
    assert_eq!(answer.status.as_u16(), 401);
    assert!(answer.json["detail"].as_str().unwrap().contains("[webhook] secrets"), "{answer:?}");
}

#[tokio::test]
async fn unsigned_deliveries_are_taken_by_a_setting_that_warns() {
    let log = Log::listen();
    let scene = Scene::with(&[("GHARVEST_WEBHOOK__ALLOW_UNSIGNED", "true")]).await;
    assert!(log.lines("without a signature")[0].contains("WARN"));
    let request = unsigned("issues", "d-1").body(Body::from(issue("opened").to_string())).unwrap();
    assert_eq!(scene.send(request).await.said(), (202, "queued"));
}

#[tokio::test]
async fn githubs_published_vector_passes_and_is_no_payload() {
    let scene = Scene::with(&[("GHARVEST_WEBHOOK__SECRETS", "It's a Secret to Everybody")]).await;
    let vector = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let request = |body: &'static str| {
        unsigned("issues", "d-1").header("x-hub-signature-256", vector).body(Body::from(body)).unwrap()
    };
    let answer = scene.send(request("Hello, World!")).await;
    assert_eq!(answer.status.as_u16(), 400);
    assert!(answer.json["detail"].as_str().unwrap().contains("not JSON"), "{answer:?}");
    assert_eq!(scene.send(request("Hello, World?")).await.status.as_u16(), 403);
}

#[tokio::test]
async fn a_secret_of_one_repository_says_nothing_about_others() {
    let variables =
        [("GHARVEST_WEBHOOK__SECRETS", SECRET), ("GHARVEST_WEBHOOK__SECRETS_OF", "octo/box=of-box,other=of-other")];
    let scene = Scene::with(&variables).await;
    let body = issue("opened").to_string().into_bytes();
    assert_eq!(scene.send(signed("issues", "d-1", body.clone(), "of-box")).await.said(), (202, "queued"));
    assert_eq!(scene.send(signed("issues", "d-2", body, "of-other")).await.status.as_u16(), 403);
    let org = json!({"action": "member_added", "organization": {"login": "Other"}}).to_string().into_bytes();
    assert_eq!(scene.send(signed("organization", "d-3", org.clone(), "of-other")).await.said(), (202, "ignored"));
    assert_eq!(scene.send(signed("organization", "d-4", org, "of-box")).await.status.as_u16(), 403);
    // Nor does it cause work elsewhere by naming a sub-issue there.
    let elsewhere = json!({"repository": {"id": 5, "full_name": "other/r"}, "parent_issue": {"number": 1},
        "sub_issue": {"number": 4}, "sub_issue_repo": {"id": TRACKED, "full_name": "octo/box"}});
    let elsewhere = elsewhere.to_string().into_bytes();
    assert_eq!(scene.send(signed("sub_issues", "d-5", elsewhere.clone(), "of-other")).await.said(), (202, "untracked"));
    assert_eq!(scene.send(signed("sub_issues", "d-6", elsewhere, SECRET)).await.said(), (202, "queued"));
    assert_eq!(scene.jobs().await, ["9#4"]);
}

/// GitHub's ids are no secrets, and everything is kept by them.
#[tokio::test]
async fn a_secret_says_nothing_about_others_by_calling_their_ids_by_names_of_its_own() {
    let scene = Scene::with(&[("GHARVEST_WEBHOOK__SECRETS_OF", "other=of-other")]).await;
    track(&scene.archive, 5, "other/r").await;
    let send = async |event: &str, payload: Value| {
        let delivery = format!("d-{}", payload.to_string().len());
        scene.send(signed(event, &delivery, payload.to_string().into_bytes(), "of-other")).await
    };
    let victim = json!({"id": TRACKED, "full_name": "other/x"});
    let forged = json!({"action": "edited", "repository": victim, "issue": {"number": 5}, "changes": {"title": {"from": "forged"}}});
    assert_eq!(send("issues", forged).await.said(), (403, "refused"));
    let label = json!({"repository": victim, "label": {"id": 1, "name": "a"}, "changes": {"name": {"from": "forged"}}});
    assert_eq!(send("label", label).await.said(), (403, "refused"));
    let ping = json!({"zen": "x", "hook_id": 666, "repository": victim});
    assert_eq!(send("ping", ping).await.said(), (403, "refused"));
    assert_eq!((scene.jobs().await.len(), scene.inbox().await.len()), (0, 0));
    assert_eq!(scene.archive.cursor("hook/9").await.unwrap(), None);

    // What is theirs is taken, without what it says of others.
    let own = json!({"id": 5, "full_name": "other/r"});
    let elsewhere = json!({"action": "a", "repository": own, "parent_issue": {"number": 1}, "sub_issue": {"number": 4},
        "sub_issue_repo": victim, "changes": {"x": 1}});
    assert_eq!(send("sub_issues", elsewhere).await.said(), (202, "queued"));
    let moved = json!({"action": "transferred", "repository": own, "issue": {"number": 2},
        "changes": {"new_issue": {"number": 8}, "new_repository": {"id": TRACKED, "full_name": "other/x"}}});
    assert_eq!(send("issues", moved).await.said(), (202, "queued"));
    assert_eq!(scene.jobs().await, ["5#1", "5#2"]);
    let kept: Vec<_> = scene.inbox().await.into_iter().map(|entry| entry.item.unwrap().to_string()).collect();
    assert_eq!(kept, ["5#2"]);

    // A name that it had, or that tracking has not learnt yet, is one of its own.
    let file = json!({"id": 6, "full_name": "octo/moved", "former_names": ["other/moved"], "repository": {},
        "fetched_at": "2026-01-01T00:00:00Z"});
    scene.archive.put_repository(&serde_json::from_value(file).unwrap()).await.unwrap();
    track(&scene.archive, 6, "octo/moved").await;
    let late = json!({"repository": {"id": 6, "full_name": "other/moved"}, "issue": {"number": 3}});
    assert_eq!(send("issues", late).await.said(), (202, "queued"));
}

/// Puts the file of the tracked repository, public and fetched at this time, into the archive.
async fn fetched(scene: &Scene, at: &str) {
    let file = json!({"id": TRACKED, "full_name": "octo/box", "repository": {"private": false}, "fetched_at": at});
    scene.archive.put_repository(&serde_json::from_value(file).unwrap()).await.unwrap();
}

/// Whether the tracked repository is private: by its file, and by what is tracked.
async fn is_private(scene: &Scene) -> (bool, bool) {
    let file = scene.archive.repository(RepositoryId(TRACKED)).await.unwrap().unwrap();
    (file.is_private(), scene.archive.tracking().await.unwrap()[0].private)
}

#[tokio::test]
async fn a_repository_that_a_delivery_calls_private_is_private_before_the_answer() {
    let repository = json!({"id": TRACKED, "full_name": "octo/box", "private": true});
    let privatized = json!({"action": "privatized", "repository": repository});
    let opened = json!({"action": "opened", "repository": repository, "issue": {"number": 4}});
    for (event, payload, jobs) in
        [("repository", privatized.clone(), vec!["9/metadata"]), ("issues", opened.clone(), vec!["9#4", "9/metadata"])]
    {
        let scene = Scene::new().await;
        fetched(&scene, "2026-01-01T00:00:00Z").await;
        assert_eq!(scene.deliver("issues", "d-0", &issue("labeled")).await.said(), (202, "queued"));
        assert_eq!(is_private(&scene).await, (false, false), "nothing said so yet");
        // The queue is away: that word is kept all the same.
        scene.queue_away(1);
        assert_eq!(scene.deliver(event, "d-1", &payload).await.said(), (202, "spooled"));
        assert_eq!(is_private(&scene).await, (true, true), "{event}");
        assert_eq!(scene.deliver(event, "d-1", &payload).await.said().0, 202);
        let heard = scene.archive.repository(RepositoryId(TRACKED)).await.unwrap().unwrap().heard_private;
        assert!(heard.is_some_and(|heard| heard.pending), "its documents are made anew by whoever works on it next");
        // What is known is not written again for each event.
        assert_eq!(scene.deliver("issues", "d-2", &opened).await.said(), (202, "queued"));
        let again = scene.archive.repository(RepositoryId(TRACKED)).await.unwrap().unwrap().heard_private;
        if event == "issues" {
            assert_eq!(again, heard);
        }
        let spooled: Vec<_> = scene.inbox().await.into_iter().filter(|entry| entry.item.is_none()).collect();
        let subjects: Vec<_> = spooled[0]
            .triggers
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["subject"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(subjects, jobs);
    }
    let scene = Scene::new().await;
    fetched(&scene, "2100-01-01T00:00:00Z").await;
    assert_eq!(scene.deliver("repository", "d-1", &privatized).await.said(), (202, "queued"));
    assert_eq!(is_private(&scene).await, (false, false), "GitHub said otherwise later");
}

#[tokio::test]
async fn a_ping_is_answered_and_the_hook_remembered() {
    let scene = Scene::new().await;
    let mut ping = json!({"zen": "Design for failure.", "hook_id": 42, "hook": {}});
    ping["repository"] = issue("")["repository"].clone();
    assert_eq!(scene.deliver("ping", "d-1", &ping).await.said(), (202, "pong"));
    assert_eq!(scene.archive.cursor("hook/9").await.unwrap().unwrap()["hook_id"], 42);
    let mut gone = json!({"action": "deleted", "hook_id": 42});
    gone["repository"] = ping["repository"].clone();
    assert_eq!(scene.deliver("meta", "d-2", &gone).await.said(), (202, "queued"));
    assert!(scene.archive.cursor("hook/9").await.unwrap().unwrap()["removed_at"].is_string());
    // An organisation's hook names no repository.
    let ping =
        json!({"zen": "Keep it logically awesome.", "hook_id": 43, "hook": {}, "organization": {"login": "Octo"}});
    assert_eq!(scene.deliver("ping", "d-3", &ping).await.said(), (202, "pong"));
    let hook = async || scene.archive.cursor("hook/organization/octo").await.unwrap().unwrap();
    assert_eq!(hook().await["hook_id"], 43);
    // The one that it took the place of says its last word, and then it does itself.
    for (delivery, gone, is_removed) in [("d-4", 42, false), ("d-5", 43, true)] {
        let gone = json!({"action": "deleted", "hook_id": gone, "organization": {"login": "octo"}});
        scene.deliver("meta", delivery, &gone).await;
        assert_eq!((&hook().await["hook_id"], hook().await["removed_at"].is_string()), (&json!(43), is_removed));
    }
}

/// A ping may have come long ago, to another address, or under the organisation's former name.
#[tokio::test(start_paused = true)]
async fn each_delivery_says_of_which_hook_it_is() {
    let scene = Scene::new().await;
    let deliver = async |delivery: &str, target: &str, hook: u64, payload: &Value| {
        let mut request = signed("issues", delivery, payload.to_string().into_bytes(), SECRET);
        request.headers_mut().insert("x-github-hook-id", hook.into());
        request.headers_mut().insert("x-github-hook-installation-target-type", target.parse().unwrap());
        let said = scene.send(request).await.said().1.to_owned();
        // What nobody waits for is done.
        tokio::time::sleep(Duration::from_secs(1)).await;
        said
    };
    let known = async |feed: &str| {
        let hook = scene.archive.cursor(feed).await.unwrap().unwrap_or_default();
        (hook["hook_id"].as_u64(), hook["removed_at"].is_string())
    };
    deliver("d-1", "repository", 42, &issue("opened")).await;
    deliver("d-2", "organization", 43, &issue("edited")).await;
    deliver("d-3", "integration", 44, &issue("edited")).await;
    assert_eq!((known("hook/9").await, known("hook/organization/octo").await), ((Some(42), false), (Some(43), false)));
    assert_eq!(deliver("d-4", "organization", 45, &issue_elsewhere()).await, "untracked");
    assert_eq!(known("hook/organization/new").await, (None, false));
    // One that is gone is heard late; then another one is heard, once in a while.
    let mut gone = json!({"action": "deleted", "hook_id": 42});
    gone["repository"] = issue("")["repository"].clone();
    scene.deliver("meta", "d-5", &gone).await;
    deliver("d-6", "repository", 42, &issue("edited")).await;
    assert_eq!(known("hook/9").await, (Some(42), true));
    deliver("d-7", "repository", 46, &issue("edited")).await;
    assert_eq!(known("hook/9").await, (Some(42), true));
    tokio::time::sleep(Duration::from_secs(30)).await;
    deliver("d-8", "repository", 46, &issue("edited")).await;
    assert_eq!(known("hook/9").await, (Some(46), false));
}

#[tokio::test(start_paused = true)]
async fn an_archive_that_does_not_answer_keeps_no_delivery_from_the_queue() {
    let scene = Scene::new().await;
    assert_eq!(scene.deliver("issues", "d-1", &issue("opened")).await.said(), (202, "queued"));
    scene.store.fail(1, StoreFault::Hang);
    tokio::time::sleep(Duration::from_secs(11)).await;
    let timed = async |event: &str, id: &str, payload: &Value| {
        let begun = tokio::time::Instant::now();
        let answer = scene.deliver(event, id, payload).await;
        (answer.said().0, answer.said().1.to_owned(), begun.elapsed())
    };
    let (status, outcome, waited) = timed("issues", "d-2", &issue("closed")).await;
    assert_eq!((status, outcome.as_str(), waited), (202, "queued", Duration::ZERO), "the last list counts");
    let (status, outcome, waited) = timed("issues", "d-3", &issue_elsewhere()).await;
    assert_eq!((status, outcome.as_str()), (202, "queued"), "it may be tracked since");
    assert!(waited < Duration::from_secs(2), "{waited:?}");
    // Facts want the archive: that is said in time, and the download does not wait for it.
    let mut deleted = issue("deleted");
    deleted["comment"] = json!({"id": 5, "body": "gone"});
    deleted["issue"]["number"] = json!(5);
    let (status, outcome, waited) = timed("issue_comment", "d-4", &deleted).await;
    assert_eq!((status, outcome.as_str()), (503, "not_durable"));
    assert!(waited < Duration::from_secs(5), "{waited:?}");
    assert_eq!(scene.jobs().await, ["9#4", "9#5", "31#2"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_begins_to_be_tracked_while_it_cannot_be_known_whether_it_is() {
    let variables = [("GHARVEST_WEBHOOK__SECRETS", SECRET), ("GHARVEST_WEBHOOK__UNTRACKED", "track")];
    let scene = Scene::with(&variables).await;
    assert_eq!(scene.deliver("issues", "d-1", &issue("opened")).await.said(), (202, "queued"));
    scene.store.fail(1, StoreFault::Hang);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(scene.deliver("issues", "d-2", &issue("closed")).await.said(), (202, "queued"), "the last list counts");
    assert_eq!(scene.deliver("issues", "d-3", &issue_elsewhere()).await.said(), (503, "not_durable"));
    // It may be tracked after all: then nothing is missed though GitHub does not send it again.
    assert_eq!(scene.jobs().await, ["9#4", "31#2"]);
    scene.store.recover();
    assert_eq!(scene.archive.tracking().await.unwrap().len(), 1);
    // A read that hung is begun anew.
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(scene.deliver("issues", "d-3", &issue_elsewhere()).await.said(), (202, "queued"));
    assert_eq!((scene.jobs().await.len(), scene.archive.tracking().await.unwrap().len()), (7, 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_tracked_is_looked_for_together_and_counts_from_when_it_is() {
    let scene = Scene::new().await;
    assert_eq!(scene.deliver("issues", "d-0", &issue_elsewhere()).await.said(), (202, "untracked"));
    scene.store.watch("tracking.json");
    let all = (0..100).map(|number| {
        let scene = &scene;
        async move { scene.deliver("issues", &format!("of-{number}"), &issue_elsewhere()).await.said().1.to_owned() }
    });
    let outcomes = futures::future::join_all(all).await;
    assert!(outcomes.iter().all(|outcome| outcome == "untracked"), "{outcomes:?}");
    assert!(scene.store.reads() <= 5, "{} reads of what is tracked", scene.store.reads());
    track(&scene.archive, 31, "new/one").await;
    assert_eq!(scene.deliver("issues", "d-1", &issue_elsewhere()).await.said(), (202, "queued"));
}

fn issue_elsewhere() -> Value {
    json!({"action": "opened", "repository": {"id": 31, "full_name": "new/one"}, "issue": {"number": 2}})
}

fn of_a_stranger() -> Value {
    json!({"action": "opened", "repository": {"id": 31, "full_name": "new/one", "private": true}, "issue": {"number": 2}})
}

#[tokio::test]
async fn repositories_that_are_not_tracked_are_ignored_or_tracked_from_then_on() {
    let scene = Scene::new().await;
    assert_eq!(scene.deliver("issues", "d-1", &of_a_stranger()).await.said(), (202, "untracked"));
    assert_eq!((scene.jobs().await.len(), scene.archive.tracking().await.unwrap().len()), (0, 1));

    let variables = [("GHARVEST_WEBHOOK__SECRETS", SECRET), ("GHARVEST_WEBHOOK__UNTRACKED", "track")];
    let scene = Scene::with(&variables).await;
    assert_eq!(scene.deliver("issues", "d-1", &of_a_stranger()).await.said(), (202, "queued"));
    let tracking = scene.archive.tracking().await.unwrap();
    let new = tracking.iter().find(|tracked| tracked.id == RepositoryId(31)).unwrap();
    assert_eq!((new.name.to_string().as_str(), new.private), ("new/one", true));
    let mut jobs = scene.jobs().await;
    jobs.sort();
    assert_eq!(jobs, ["31#2", "31/items", "31/labels", "31/metadata", "31/milestones", "31/releases"]);
}

#[tokio::test]
async fn an_installation_of_thousands_of_repositories_is_taken_at_once() {
    let variables = [("GHARVEST_WEBHOOK__SECRETS", SECRET), ("GHARVEST_WEBHOOK__UNTRACKED", "track")];
    let scene = Scene::with(&variables).await;
    let all: Vec<Value> = (100..5_100).map(|id| json!({"id": id, "full_name": format!("octo/r-{id}")})).collect();
    let added = json!({"action": "added", "repositories_added": all, "installation": {"account": {"login": "octo"}}});
    let begun = std::time::Instant::now();
    assert_eq!(scene.deliver("installation_repositories", "d-1", &added).await.said(), (202, "tracking_changed"));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(scene.archive.tracking().await.unwrap().len(), 5_001);
    assert_eq!(scene.triggers().await, 2_500, "the seeder finds the others");
}

#[tokio::test]
async fn an_owner_with_a_new_name_has_all_its_repositories_looked_up() {
    let scene = Scene::new().await;
    let renamed = json!({"action": "renamed", "account": {"login": "octopus"}, "changes": {"login": {"from": "Octo"}}});
    assert_eq!(scene.deliver("installation_target", "d-1", &renamed).await.said(), (202, "tracking_changed"));
    assert_eq!(scene.jobs().await, ["9/metadata"]);
}

#[tokio::test]
async fn a_delivery_is_one_line_of_the_log_and_one_of_the_metrics() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _metrics = metrics::set_default_local_recorder(&recorder);
    let log = Log::listen();
    let scene = Scene::new().await;
    let mut payload = issue("edited");
    payload["issue"]["body"] = json!("very secret text");
    scene.deliver("issues", "logged-1", &payload).await;
    scene.send(signed("from_the_future", "logged-2", payload.to_string().into_bytes(), "wrong")).await;
    let lines = log.lines("logged-");
    assert_eq!(lines.len(), 2, "{lines:?}");
    for part in [
        "delivery=\"logged-1\"",
        "event=\"issues\"",
        "action=\"edited\"",
        "subject=\"9#4\"",
        "outcome=\"queued\"",
        "milliseconds=",
    ] {
        assert!(lines[0].contains(part), "{part} in {}", lines[0]);
    }
    assert!(lines[1].contains("outcome=\"wrong_signature\""), "{}", lines[1]);
    assert!(log.lines("secret text").is_empty() && log.lines("sha256").is_empty());
    let metrics = recorder.handle().render();
    for line in [
        "gharvest_webhook_deliveries_total{event=\"issues\",outcome=\"queued\"} 1",
        "gharvest_webhook_deliveries_total{event=\"other\",outcome=\"wrong_signature\"} 1",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}
