//! `gharvest demo`: something to look at within seconds, nothing left behind.

use std::time::Instant;

use serde_json::Value;

use crate::{
    offline::write_backup,
    scene::{MIRRORED, Scene, Serving, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_is_soon_searchable_and_leaves_nothing_behind() {
    let scene = Scene::new(1);
    let begun = Instant::now();
    let command = scene.command(&["demo", "--items", "60", "--listen", "127.0.0.1:0"]);
    let serving = Serving::start(command).await;
    let search = format!("{}/api/v1/search?q=is:issue", serving.url);
    until("items are found", async || {
        let answer: Value = reqwest::get(&search).await.unwrap().json().await.unwrap();
        answer["total"].as_u64().is_some_and(|total| total > 0)
    })
    .await;
    println!("first items found after {:?}", begun.elapsed());
    let page = reqwest::get(format!("{}/orchard/harvester/issues/1", serving.url)).await.unwrap();
    assert!(page.status().is_success() || page.status().as_u16() == 404, "{}", page.status());

    ends_without_a_trace(&scene, serving).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_of_recorded_data_shows_that() {
    let scene = Scene::new(30);
    let folder = scene.folder().join("backup");
    let numbers = write_backup(&scene, &folder);
    let recorded = ["demo", "--data", folder.to_str().unwrap(), "--repository", MIRRORED, "--listen", "127.0.0.1:0"];
    let serving = Serving::start(scene.command(&recorded)).await;
    let search = format!("{}/api/v1/search?q=repo:{MIRRORED}", serving.url);
    until("all items are found", async || {
        let answer: Value = reqwest::get(&search).await.unwrap().json().await.unwrap();
        answer["total"] == numbers.len()
    })
    .await;
    ends_without_a_trace(&scene, serving).await;
}

/// Ctrl-C.
async fn ends_without_a_trace(scene: &Scene, serving: Serving) {
    let (code, took, said) = serving.end("INT").await;
    assert_eq!(code, Some(0), "{said}");
    println!("it ended after {took:?}");
    let left: Vec<_> = std::fs::read_dir(scene.temporary()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!scene.data_dir().try_exists().unwrap(), "a demo has no business in the person's own data folder");
    assert_eq!(scene.requests(), 0, "a demo asks its own GitHub");
}
