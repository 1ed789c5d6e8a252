//! Completeness: the page, the gap report and the badge.

use axum::http::StatusCode;
use gharvest_archive::LedgerChange;
use gharvest_model::{RepositoryId, drift::Drift, ledger::NumberState, tracking::Tracked};
use jiff::SignedDuration;
use serde_json::json;

use crate::mirror::{Mirror, now};

const BOX: RepositoryId = RepositoryId(1);
const PAGE: &str = "/-/octo/box/audit";
const REPORT: &str = "/api/v1/repositories/octo/box/audit";
const BADGE: &str = "/api/v1/repositories/octo/box/badge.svg";

#[tokio::test]
async fn a_complete_repository_says_so_everywhere() {
    let mirror = Mirror::new().await;
    let page = mirror.get(PAGE).await;
    page.shows("every number to 2 is accounted for");
    page.shows("none so far");
    assert_eq!(mirror.get(REPORT).await.json()["complete"], true);
    let answer = mirror.get("/api/v1/repositories/octo/box").await.json();
    assert_eq!((&answer["complete"], &answer["ledger"]["complete"]), (&json!(true), &json!(true)), "{answer}");
    let badge = mirror.get(BADGE).await;
    assert_eq!(badge.header("content-type"), "image/svg+xml");
    badge.shows(">complete</text>");
    mirror.get("/octo/box").await.shows(&format!("href=\"{PAGE}\""));
}

#[tokio::test]
async fn what_is_open_and_what_drifted_is_listed_and_the_report_is_that_of_the_archive() {
    let mirror = Mirror::new().await;
    let failed = LedgerChange { number: 3, state: NumberState::Failed, verified_at: now() };
    mirror.archive.update_ledger(BOX, &[failed]).await.unwrap();
    mirror.archive.reach(BOX, 9).await.unwrap();
    mirror.archive.add_drift(BOX, 2, &[Drift::CommentEdited], now()).await.unwrap();
    let page = mirror.get(PAGE).await;
    for text in ["7 numbers not accounted for", "issues/4\">#4</a> to ", "issues/9\">#9</a>", "issues/3\">#3</a>"] {
        page.shows(text);
    }
    page.shows("comment edited");
    let report = mirror.get(REPORT).await.json();
    let audit = mirror.archive.audit(BOX, now()).await.unwrap().unwrap();
    assert_eq!(report, serde_json::to_value(audit).unwrap());
    assert_eq!(report["unknown_numbers"], json!([[4, 9]]));
    mirror.get(BADGE).await.shows(">22.2%</text>");
}

#[tokio::test]
async fn a_list_that_was_not_read_to_its_end_is_not_complete() {
    let mirror = Mirror::new().await;
    mirror.walk(BOX.0, None).await;
    mirror.get(PAGE).await.shows("was not read to its end yet");
    assert_eq!(mirror.get("/api/v1/repositories/octo/box").await.json()["ledger"]["complete"], false);
    mirror.get(BADGE).await.shows(">99.9%</text>");
}

#[tokio::test]
async fn a_repository_that_cannot_be_fetched_stands_still_whatever_is_accounted_for() {
    let mirror = Mirror::new().await;
    let trouble = |entry: &mut Tracked| entry.trouble = Some("GitHub blocks it".to_owned());
    assert!(mirror.archive.change_tracked(BOX, &trouble).await.unwrap());
    mirror.get(PAGE).await.shows("GitHub blocks it");
    mirror.get(BADGE).await.shows(">stands still</text>");
    stands_still(&mirror).await;
}

#[tokio::test]
async fn a_repository_that_nobody_asks_about_stands_still_on_every_page() {
    let mirror = Mirror::new().await;
    let before = mirror.get("/status").await;
    mirror.walk(BOX.0, Some(now() - SignedDuration::from_hours(48))).await;
    mirror.get(PAGE).await.shows("GitHub was last asked at");
    mirror.get(BADGE).await.shows(">stands still</text>");
    stands_still(&mirror).await;
    let after = mirror.get("/status").await;
    let complete =
        |page: &str| page.split(" repositories complete").next().unwrap().rsplit('>').next().unwrap().to_owned();
    assert_ne!(complete(&before.text), complete(&after.text));
}

/// Elsewhere as in the audit.
async fn stands_still(mirror: &Mirror) {
    let answer = mirror.get("/api/v1/repositories/octo/box").await.json();
    assert_eq!((&answer["complete"], &answer["ledger"]["complete"]), (&json!(false), &json!(true)), "{answer}");
    assert!(answer["trouble"].is_string(), "{answer}");
    for page in ["/octo/box", "/octo", "/status"] {
        mirror.get(page).await.shows("stands still");
    }
}

#[tokio::test]
async fn a_repository_that_may_not_be_seen_is_not_audited() {
    let mirror =
        Mirror::with_settings(&[("GHARVEST_WEB__ANONYMOUS", "public"), ("GHARVEST_WEB__LISTEN", "0.0.0.0:80")]).await;
    for repository in ["octo/vault", "octo/none"] {
        for path in [
            format!("/-/{repository}/audit"),
            format!("/api/v1/repositories/{repository}/audit"),
            format!("/api/v1/repositories/{repository}/badge.svg"),
        ] {
            assert_eq!(mirror.get(&path).await.status, StatusCode::NOT_FOUND, "{path}");
        }
    }
    assert_eq!(mirror.get(PAGE).await.status, StatusCode::OK);
}
