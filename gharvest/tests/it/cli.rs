//! What a person gets told, and by which exit code.

use std::{collections::BTreeMap, net::TcpListener};

use gharvest_github_simulator::{Change, Truth};
use gharvest_model::progress::UpdatesCursor;
use gharvest_service_kit::load::Sources;
use gharvest_state::feed::{self, Heard};
use gharvest_testkit::component;

use crate::scene::{MIRRORED, SECRET, Scene, TOKEN, finish, name};

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_printed_without_secrets() {
    let scene = Scene::new(1);
    let printed = scene.done(&["settings"]).await;
    assert!(printed.stdout.contains("inactivity_delay"), "{printed:?}");
    for secret in [SECRET, TOKEN] {
        assert!(!format!("{printed:?}").contains(secret), "{printed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_setting_is_refused_with_the_nearest_known_one() {
    let scene = Scene::new(1);
    let mut command = scene.command(&["status"]);
    command.env("GHARVEST_GITHUB__API_ULR", "http://127.0.0.1:1");
    let refused = finish(command).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("GHARVEST_GITHUB__API_URL"), "{refused:?}");
}

/// A mistyped folder would look like a mirror that lost everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_without_an_archive_is_said_and_left_as_it_is() {
    let scene = Scene::new(1);
    let item = format!("{MIRRORED}#1");
    let commands: [&[&str]; 7] = [
        &["status"],
        &["audit"],
        &["show", &item],
        &["verify"],
        &["rebuild"],
        &["snapshot", "create"],
        &["untrack", MIRRORED, "--keep"],
    ];
    for command in commands {
        let refused = scene.run(command).await;
        assert_eq!(refused.code, Some(1), "{command:?}: {refused:?}");
        assert!(refused.stderr.contains("there is no archive at"), "{command:?}: {refused:?}");
    }
    assert!(!scene.data_dir().join("archive").try_exists().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_away_is_said_beside_everything_else() {
    let scene = Scene::new(1);
    scene.done(&["track", MIRRORED]).await;
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = scene.command(&["status"]);
    command.env("GHARVEST_SEARCH__URL", format!("http://{closed}"));
    let shown = finish(command).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.stdout.contains("download queue"), "{shown:?}");
    assert!(shown.stdout.contains(&closed.to_string()) && shown.stdout.contains("gharvest doctor"), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_port_is_said_with_a_free_one() {
    let scene = Scene::new(1);
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let refused = scene.run(&["up", "--listen", &address]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains(&format!("{address} is in use")), "{refused:?}");
    assert!(refused.stderr.contains("is free"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_others_reach_is_not_served_without_keys() {
    let scene = Scene::new(1);
    let everywhere = "0.0.0.0:0";
    let mut web = scene.program(component("web"), &[]);
    web.env("GHARVEST_WEB__LISTEN", everywhere);
    for command in [web, scene.command(&["up", "--listen", everywhere])] {
        let refused = finish(command).await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        for word in ["can be reached by others", "gharvest keys add", "[web] anonymous", "127.0.0.1"] {
            assert!(refused.stderr.contains(word), "{word}: {refused:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_does_not_exist_is_named() {
    let scene = Scene::new(1);
    for command in [&["mirror", "lumen/nowhere", "--once", "--no-web"][..], &["track", "lumen/nowhere"]] {
        let failed = scene.run(command).await;
        assert_eq!(failed.code, Some(1), "{failed:?}");
        let said = failed.stderr.lines().last().unwrap_or_default();
        assert!(said.starts_with("error: lumen/nowhere cannot be"), "{failed:?}");
    }
    let status = scene.json(&["status", "--json"]).await;
    assert_eq!(status["repositories"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_ends_with_2() {
    let scene = Scene::new(1);
    let commands: [&[&str]; 5] = [
        &["untrack", MIRRORED],
        &["mirror"],
        &["mirror", "not a name"],
        &["show", "lumen/lumen"],
        &["deletions", MIRRORED, "--policy", "erase"],
    ];
    for command in commands {
        let refused = scene.run(command).await;
        assert_eq!(refused.code, Some(2), "{command:?}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_counts_numbers_that_are_gone_and_status_compares_it_with_what_was_spent() {
    const ITEMS: u64 = 60;
    const DELETED: usize = 40;
    let scene = Scene::new(ITEMS + DELETED as u64);
    let is_issue =
        |number: &u64| matches!(scene.control.truth(&name(MIRRORED), *number), Some(Truth::Present { pull: None, .. }));
    for number in (1..).filter(is_issue).take(DELETED) {
        drop(scene.control.change(&name(MIRRORED), Change::DeleteItem { number }).unwrap());
    }
    let is_gone = |number: &u64| {
        let truth = scene.control.truth(&name(MIRRORED), *number);
        matches!(truth, Some(Truth::Deleted | Truth::Hidden | Truth::Transferred { .. }))
    };
    let gone = (1..=scene.control.highest_number(&name(MIRRORED))).filter(is_gone).count() as u64;
    assert!(gone > DELETED as u64);
    let mirrored = scene.done(&["mirror", MIRRORED, "--once", "--no-web"]).await;
    let said = format!("about {ITEMS} items, {gone} more numbers to account for");
    assert!(mirrored.stderr.contains(&said), "{mirrored:?}");
    let status = scene.json(&["status", "--json"]).await;
    let (plan, spent) = (&status["repositories"][0]["plan"], &status["repositories"][0]["spent"]);
    assert_eq!((&plan["items"], &plan["gone"], &plan["way"]), (&ITEMS.into(), &gone.into(), &"graphql".into()));
    let sum = |what: &str| spent.as_object().unwrap().values().map(|spent| spent[what].as_u64().unwrap()).sum::<u64>();
    // How near it comes is a test of the plan: here schedules begin as well, whenever they do.
    assert!(plan["calls"].as_u64().unwrap() > gone && sum("calls") >= gone, "{status}");
    let again = scene.done(&["mirror", MIRRORED, "--once", "--no-web"]).await;
    let said = format!("about {ITEMS} items, {ITEMS} of them here already\n");
    assert!(again.stderr.contains(&said), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_a_mirror_says_so_and_works_and_is_forgotten_when_purged() {
    let scene = Scene::new(20);
    let mut command = scene.command(&["mirror", MIRRORED, "--once", "--no-web"]);
    command.env_remove("GITHUB_TOKEN");
    let mirrored = finish(command).await;
    assert_eq!(mirrored.code, Some(0), "{mirrored:?}");
    assert!(mirrored.stderr.contains("no token: GitHub allows 60 calls an hour"), "{mirrored:?}");
    assert!(mirrored.stderr.contains("about 20 items") && mirrored.stderr.contains("on disk"), "{mirrored:?}");
    assert_eq!(scene.differences(MIRRORED).await, Vec::<String>::new());
    assert_eq!(scene.total(&format!("repo:{MIRRORED}")).await, 20);
    let status = scene.json(&["status", "--json"]).await;
    let (plan, spent) = (&status["repositories"][0]["plan"], &status["repositories"][0]["spent"]);
    assert_eq!((&plan["items"], &plan["way"]), (&20.into(), &"rest".into()), "{status}");
    let calls: u64 = spent.as_object().unwrap().values().map(|spent| spent["calls"].as_u64().unwrap()).sum();
    let planned = plan["calls"].as_u64().unwrap();
    assert!(calls >= 20 && calls <= scene.requests() && calls <= planned * 2, "{planned} planned, {spent}");
    let shown = scene.done(&["status"]).await.stdout;
    assert!(shown.contains("planned: about") && shown.contains("spent, backfill:"), "{shown}");

    let refused = scene.run(&["deletions", MIRRORED, "--policy", "redact"]).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("--yes"), "{refused:?}");
    scene.done(&["deletions", MIRRORED, "--policy", "redact", "--yes"]).await;
    let deletions = scene.json(&["deletions", MIRRORED, "--json"]).await;
    assert_eq!(deletions, serde_json::json!({ "policy": "redact", "receipts": [] }));

    scene.done(&["untrack", MIRRORED, "--purge"]).await;
    assert_eq!(scene.total(&format!("repo:{MIRRORED}")).await, 0);
    assert_eq!(scene.run(&["show", &format!("{MIRRORED}#1")]).await.code, Some(1));
    let status = scene.json(&["status", "--json"]).await;
    assert_eq!(status["repositories"], serde_json::json!([]));
    assert!(!scene.record_path(1).try_exists().unwrap());
    let verified = scene.run(&["verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_untracked_repository_that_is_kept_stays_searchable() {
    let scene = Scene::new(12);
    scene.done(&["mirror", MIRRORED, "--once", "--no-web"]).await;
    scene.done(&["untrack", MIRRORED, "--keep"]).await;
    assert_eq!(scene.total(&format!("repo:{MIRRORED}")).await, 12);
    scene.done(&["show", &format!("{MIRRORED}#1")]).await;
    let status = scene.json(&["status", "--json"]).await;
    assert_eq!(status["repositories"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_shown_once_listed_and_revoked() {
    let scene = Scene::new(1);
    let secret = scene.done(&["keys", "add", "dashboard", "--role", "operate"]).await.stdout;
    let secret = secret.trim();
    assert!(secret.len() >= 32, "{secret}");
    assert_eq!(scene.run(&["keys", "add", "dashboard"]).await.code, Some(1));
    let listed = scene.done(&["keys", "list", "--json"]).await.stdout;
    assert!(listed.contains("dashboard") && listed.contains("operate") && !listed.contains(secret), "{listed}");
    let stored = std::fs::read_to_string(scene.data_dir().join("archive/keys.json")).unwrap();
    assert!(!stored.contains(secret), "{stored}");
    scene.done(&["keys", "revoke", "dashboard"]).await;
    assert_eq!(scene.run(&["keys", "revoke", "dashboard"]).await.code, Some(1));
    assert_eq!(scene.json(&["keys", "list", "--json"]).await, serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_says_what_to_do_and_asks_nothing_of_github_offline() {
    let scene = Scene::new(1);
    let examined = scene.run(&["doctor", "--offline", "--json"]).await;
    assert_eq!(examined.code, Some(3), "nothing is tracked: {examined:?}");
    let findings: serde_json::Value = serde_json::from_str(&examined.stdout).unwrap();
    let tracking = findings.as_array().unwrap().iter().find(|finding| finding["about"] == "tracking").unwrap();
    assert_eq!(tracking["remedy"], "gharvest track OWNER/NAME");
    assert_eq!(scene.requests(), 0);
    let of = |about: &str| {
        findings.as_array().unwrap().iter().filter(|finding| finding["about"] == about).collect::<Vec<_>>()
    };
    assert!(of("notify")[0]["found"].as_str().unwrap().contains("[notify] url"), "{findings}");
    assert!(of("archive").iter().any(|finding| finding["found"] == "can be read and written"), "{findings}");
    assert!(of("clock").iter().all(|finding| finding["remedy"].is_null()) && of("clock").len() == 1, "{findings}");
}

/// What a set-up needs that mirrors a private repository and hears of it by webhook.
#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_looks_at_hooks_and_at_what_only_some_tokens_see() {
    let scene = Scene::new(4);
    let other: gharvest_model::RepositoryName = crate::scene::OTHER.parse().unwrap();
    scene.done(&["mirror", MIRRORED, "--once", "--no-web"]).await;
    let examine = async || {
        let mut command = scene.command(&["doctor", "--json"]);
        command.env("GHARVEST_DOWNLOADER__TWINS", format!("{MIRRORED}={other}"));
        command.env("GHARVEST_DOWNLOADER__TWIN_TITLES", "Wait.").env("GHARVEST_NOTIFY__URL", "http://127.0.0.1:9");
        finish(command).await.stdout
    };
    let well = examine().await;
    assert!(well.contains(&format!("a token sees the private {other}")), "{well}");
    assert!(well.contains(&format!("{MIRRORED} was never heard of")), "{well}");
    assert!(well.contains("somebody is told of alarms"), "{well}");
    assert_eq!(well.matches("\"clock\"").count(), 2, "the queue's and GitHub's: {well}");
    scene.control.change(&other, Change::HideRepository).unwrap();
    let hidden = examine().await;
    assert!(hidden.contains(&format!("no token sees the private {other}")), "{hidden}");
}

/// The tool's own settings may know no secret, where another process takes the deliveries.
#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_judges_hooks_by_what_was_heard_and_knows_secrets_of_one_owner() {
    let scene = Scene::new(1);
    scene.done(&["track", MIRRORED]).await;
    let examine = async |secrets_of: &str| {
        let mut command = scene.command(&["doctor", "--offline", "--json"]);
        command.env("GHARVEST_WEBHOOK__SECRETS", "").env("GHARVEST_WEBHOOK__SECRETS_OF", secrets_of);
        let findings: Vec<serde_json::Value> = serde_json::from_str(&finish(command).await.stdout).unwrap();
        let about_hooks = findings.into_iter().filter(|finding| finding["about"] == "webhook");
        let found =
            |finding: serde_json::Value| (finding["found"].as_str().unwrap().to_owned(), finding["remedy"].is_null());
        about_hooks.map(found).collect::<Vec<_>>()
    };
    let [(said, true)] = &examine("").await[..] else { panic!("nothing is expected to be heard") };
    assert!(said.starts_with("no secret set: "), "{said}");
    let [(said, true), (heard, true)] = &examine("lumen=correct-horse").await[..] else {
        panic!("a hook is looked for, and need not be there")
    };
    assert!(said.starts_with("1 secret(s) set, 1 of them"), "{said}");
    assert!(heard.starts_with(&format!("{MIRRORED} was never heard of")), "{heard}");

    let sources = Sources { config: None, data_dir: Some(scene.data_dir()), environment: BTreeMap::new() };
    let settings = sources.load().unwrap().settings;
    let archive = gharvest_backends::archive(&settings).await.unwrap();
    let tracked = archive.tracking().await.unwrap();
    let state = gharvest_backends::state(&settings).await.unwrap();
    let at = "2020-01-01T00:00:00Z".parse().unwrap();
    let heard = Heard { at, event: "issues".into(), delivery: "1".into() };
    feed::put(&*state, tracked[0].id, &heard).await.unwrap();
    let updates = UpdatesCursor::feed(tracked[0].id);
    for (changed_at, is_well) in [("2020-01-08T00:00:00Z", true), ("2020-01-08T00:00:01Z", false)] {
        archive.set_cursor(&updates, serde_json::json!({"since": changed_at})).await.unwrap();
        let [_, (heard, found_well)] = &examine("").await[..] else { panic!("what was heard is looked at") };
        assert!(heard.starts_with(&format!("{MIRRORED} was last heard at 2020-01-01T00:00:00Z")), "{heard}");
        assert_eq!(*found_well, is_well, "a quiet repository has nothing to say: {changed_at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_named_and_work_goes_on_with_the_others() {
    let scene = Scene::new(12);
    scene.control.revoke_token("simulated-revoked");
    scene.control.allow_token("github_pat_fine", "mei", 5000);
    let with_tokens = |args: &[&str], tokens: &str| {
        let mut command = scene.command(args);
        command.env("GITHUB_TOKEN", tokens);
        command
    };
    scene.control.end_tokens_of("mei", "2026-01-02 03:04:05 UTC");
    let tokens = "simulated-revoked,live=simulated-live,scheduled=github_pat_fine";
    let examined = finish(with_tokens(&["doctor", "--json"], tokens)).await;
    assert_eq!(examined.code, Some(3), "{examined:?}");
    let findings: serde_json::Value = serde_json::from_str(&examined.stdout).unwrap();
    let found = |name: &str| {
        let about = |finding: &&serde_json::Value| finding["found"].as_str().unwrap().starts_with(name);
        findings.as_array().unwrap().iter().find(about).unwrap().clone()
    };
    assert!(found("token 1")["found"].as_str().unwrap().contains("Bad credentials"), "{findings}");
    assert_eq!(found("token 1")["remedy"], "replace the token");
    assert_eq!(found("token 2")["remedy"], serde_json::Value::Null);
    let told = findings.to_string();
    assert!(told.contains("cross-references") && told.contains("token 3 ends at 2026-01-02T03:04:05Z"), "{findings}");
    assert!(!format!("{examined:?}").contains("simulated-revoked"), "{examined:?}");
    assert!(!told.contains("asked only about"), "its work is no other's: {findings}");
    let both = finish(with_tokens(&["doctor", "--json"], "simulated-good,github_pat_fine")).await;
    assert!(both.stdout.contains("asked only about repositories that no other token is shown"), "{both:?}");

    let tokens = "simulated-revoked,simulated-good";
    let mirrored = finish(with_tokens(&["mirror", MIRRORED, "--once", "--no-web"], tokens)).await;
    assert_eq!(mirrored.code, Some(0), "{mirrored:?}");
    assert_eq!(scene.differences(MIRRORED).await, Vec::<String>::new());
    let refused = finish(with_tokens(&["mirror", MIRRORED, "--once", "--no-web"], "live=simulated-good")).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("one must be free for scheduled work"), "{refused:?}");
}
