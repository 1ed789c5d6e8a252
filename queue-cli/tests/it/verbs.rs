//! Every verb, with good and with bad input.

use crate::{session::Session, world::World};

/// Plays a session on the queue itself and through the API; both must say the same.
async fn both(prepare: impl AsyncFn(&World), lines: &[&str]) -> String {
    let (here, there) = (World::new().await, World::new().await);
    for world in [&here, &there] {
        world.index().await;
        prepare(world).await;
    }
    let served = there.serve().await;
    let sessions = [Session::direct(&here), Session::remote(&served, None)];
    let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    let mut said = Vec::new();
    for mut session in sessions {
        let lines = lines.clone();
        let played = tokio::task::spawn_blocking(move || {
            for line in &lines {
                session.run(line);
            }
            session.said()
        });
        said.push(played.await.unwrap());
    }
    assert_eq!(said[0], said[1], "directly, and through the API");
    said.swap_remove(0)
}

async fn nothing(_: &World) {}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_added() {
    let said = both(
        nothing,
        &[
            "add download mozilla/web-bugs#1 https://github.com/mozilla/web-bugs/issues/2 mozilla/web-bugs/labels 7#3",
            "add download mozilla/web-bugs#1 --json",
            "add index --all",
            "length download",
            "length index --json",
            "add-range download mozilla/web-bugs 1 10 --lane reconcile",
            "add-range download mozilla/web-bugs 1 10 --json",
            "add-updated-since download mozilla/web-bugs 2021-12-01T00:00:00Z",
            "add-updated-since download mozilla/web-bugs 2021-12-01 --json",
            "length download --repository mozilla/web-bugs",
        ],
    );
    insta::assert_snapshot!(said.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_added_is_said_with_an_example() {
    let said = both(
        nothing,
        &[
            "add",
            "add download",
            "add nonsense mozilla/web-bugs#1",
            "add download web-bugs",
            "add download mozilla/web-bugs#0",
            "add download mozilla/other#1",
            "add download mozilla/web-bugs#1 nonsense",
            "add download --all",
            "add download mozilla/web-bugs#1 --lane slow",
            "add-range download mozilla/web-bugs 10 1",
            "add-range download mozilla/web-bugs 0 1",
            "add-range download mozilla/web-bugs one 2",
            "add-range download web-bugs 1 2",
            "add download 99999#5",
            "add download 7#9007199254740993",
            "add-range download mozilla/web-bugs 1 60000000",
            "add-updated-since index mozilla/web-bugs 2021-12-01",
            "add-updated-since download mozilla/web-bugs yesterday",
            "add-updated-since download mozilla/web-bugs 2100-01-01",
            "length download",
        ],
    );
    insta::assert_snapshot!(said.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_looked_at() {
    let said = both(
        async |world: &World| {
            world.bury(2).await;
            world.work_on(1).await;
        },
        &[
            "add-range download mozilla/web-bugs 1 5",
            "pause download --until 2100-01-01",
            "pause download --for 1h --reason 'GitHub is down' --json",
            "pause index --repository mozilla/web-bugs --until 'in 2 hours'",
            "status",
            "status --json",
            "show mozilla/web-bugs#1",
            "show mozilla/web-bugs#2",
            "show https://github.com/mozilla/web-bugs/issues/9",
            "show mozilla/web-bugs#3 --json",
            "show mozilla/other#1",
            "show nonsense",
            "resume download",
            "resume index --repository mozilla/web-bugs --json",
            "pause download --for soon",
            "pause download --until 2020-01-01",
            "pause download --for 1h --until 2100-01-01",
            "resume nonsense",
        ],
    );
    insta::assert_snapshot!(said.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_removed() {
    let said = both(
        async |world: &World| world.work_on(1).await,
        &[
            "add-range download mozilla/web-bugs 1 20",
            "remove download mozilla/web-bugs#1 mozilla/web-bugs#2",
            "remove download mozilla/web-bugs#2 --json",
            "remove download",
            "remove download 0#5",
            "remove download --range mozilla/web-bugs 3 5",
            "remove download --range mozilla/web-bugs 3 5 --yes",
            "remove download --range mozilla/web-bugs 5 3 --yes",
            "remove download --range mozilla/web-bugs three 5 --yes",
            "purge download --lane backfill",
            "purge download --lane webhook --yes",
            "purge download --lane backfill --repository mozilla/web-bugs --yes --json",
            "purge download --repository mozilla/other --yes",
            "purge nonsense --yes",
            "length download",
        ],
    );
    insta::assert_snapshot!(said.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_subjects_than_one_request_takes_are_removed_in_several() {
    let subjects: Vec<String> = (1..=1_001).map(|number| format!("mozilla/web-bugs#{number}")).collect();
    let remove = format!("remove download {}", subjects.join(" "));
    let said = both(nothing, &["add-range download mozilla/web-bugs 1 1500", &remove, "length download"]).await;
    assert!(said.contains("mozilla/web-bugs#1001: removed") && said.contains("had 1500 jobs and has 499"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn buried_jobs_are_listed_shown_revived_and_forgotten() {
    let said = both(
        async |world: &World| {
            for number in 1..=3 {
                world.bury(number).await;
            }
        },
        &[
            "buried list download",
            "buried list download --limit 1 --json",
            "buried list index",
            "buried list download --repository mozilla/other",
            "buried show download mozilla/web-bugs#1",
            "buried show download mozilla/web-bugs#1 --json",
            "buried show download mozilla/web-bugs#9",
            "buried revive download --limit 1",
            "buried show download mozilla/web-bugs#1",
            "buried drop download",
            "buried drop download --yes --json",
            "buried revive download --json",
            "buried",
        ],
    );
    insta::assert_snapshot!(said.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_decides_what_may_be_asked_from_elsewhere() {
    let world = World::new().await;
    world.index().await;
    for role in ["read", "operate", "admin"] {
        world.key(role, role).await;
    }
    let served = world.serve().await;
    let lines = ["length download", "add download 7#1", "remove download 7#1"];
    let codes = async |key: Option<&'static str>| {
        let mut session = Session::remote(&served, key);
        tokio::task::spawn_blocking(move || lines.map(|line| session.run(line))).await.unwrap()
    };
    assert_eq!(codes(None).await, [1, 1, 1]);
    assert_eq!(codes(Some("wrong")).await, [1, 1, 1]);
    assert_eq!(codes(Some("read")).await, [0, 1, 1]);
    assert_eq!(codes(Some("operate")).await, [0, 0, 1]);
    assert_eq!(codes(Some("admin")).await, [0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_wrong_folder_nothing_is_told_and_nothing_made_there() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong");
    std::fs::create_dir(&wrong).unwrap();
    let mut session = Session::at(&wrong);
    tokio::task::spawn_blocking(move || {
        for verb in ["status", "length download", "purge download --yes", "show mozilla/web-bugs#1"] {
            assert_eq!(session.run(verb), 1, "{verb}");
        }
        let said = session.said();
        assert_eq!(said.matches("there is no archive at file:").count(), 4, "{said}");
    })
    .await
    .unwrap();
    assert_eq!(std::fs::read_dir(&wrong).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_none_are_named() {
    let world = World::new().await;
    world.index().await;
    let mut session = Session::direct(&world);
    tokio::task::spawn_blocking(move || {
        assert_eq!(session.run("--server nonsense length download"), 2);
        assert_eq!(session.run("--server http://127.0.0.1:1 length download"), 1);
        let said = session.said();
        assert!(said.contains("`nonsense` is no address") && said.contains("asking http://127.0.0.1:1"), "{said}");
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_and_fifty_thousand_jobs_are_added_and_counted() {
    let world = World::new().await;
    let mut session = Session::direct(&world);
    tokio::task::spawn_blocking(move || {
        assert_eq!(session.run("add-range download mozilla/web-bugs 1 150000"), 0);
        let begun = std::time::Instant::now();
        assert_eq!(session.run("status"), 0);
        eprintln!("status with 150,000 jobs took {:?}", begun.elapsed());
        assert_eq!(session.run("length download"), 0);
        let said = session.said();
        assert!(said.contains("150000 added") && said.contains("\n150000\n"), "{said}");
    })
    .await
    .unwrap();
}

#[test]
fn completions_and_the_manual_page_are_printed() {
    let run = |arguments: &[&str]| {
        let output = assert_cmd::Command::cargo_bin("queue-cli").unwrap().args(arguments).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(run(&["completions", shell]).contains("add-range"), "{shell}");
    }
    assert!(run(&["man"]).starts_with(".ie"), "{}", run(&["man"]));
    let help = run(&["--help"]);
    assert!(help.contains("Exit codes") && help.contains("--server"), "{help}");
}
