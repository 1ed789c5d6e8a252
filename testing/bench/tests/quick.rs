//! The whole table at small sizes: that every part runs, not how quick it is.
#![allow(clippy::unwrap_used, reason = "a test that fails here says where")]

use std::process::{Command, Output};

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gharvest-bench")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_quick_run_measures_every_part_and_judges_none() {
    let output = bench(&["--quick", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["host"]["cores"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["quick"], true);
    let parts = report["parts"].as_object().unwrap();
    let names: Vec<_> = parts.keys().map(String::as_str).collect();
    let expected =
        ["queue", "archive", "index", "pipeline", "cost", "search", "deliveries", "redis", "engine", "deployment"];
    assert_eq!(names, expected);
    let redis = gharvest_testkit::redis::RedisServer::start("the bench on Redis", &[]).is_some();
    let engine = gharvest_testkit::search_server("the bench on an engine").is_some();
    for (name, rows) in parts {
        let rows = rows.as_array().unwrap();
        // What needs services is missing where they are, and that is said.
        let may_be_missing = name == "redis" && !redis || matches!(name.as_str(), "engine" | "deployment") && !engine;
        assert!(!rows.is_empty() || may_be_missing, "{name}");
        for row in rows {
            assert!(row["measured"].as_f64().is_some_and(f64::is_finite), "{name}: {row}");
            assert!(row["limit"].is_null() || row["limit"]["value"].as_f64().is_some_and(|limit| limit > 0.0), "{row}");
            assert_eq!(row["verdict"], "not_judged", "{name}: {row}");
        }
    }
}

#[test]
fn one_part_prints_a_table_under_the_name_of_the_machine() {
    let output = bench(&["index", "--quick"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert!(printed.contains(" cores of "), "{printed}");
    assert!(printed.contains("| index "), "{printed}");
    assert!(printed.contains("| bare tantivy writer, documents ready made"), "{printed}");
}

#[test]
fn a_part_that_does_not_exist_is_wrong_usage() {
    let output = bench(&["nothing"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("possible values"), "{}", text(&output.stderr));
}
