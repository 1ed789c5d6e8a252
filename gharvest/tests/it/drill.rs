//! The restore drill of `_docs/backups.md`, through the scripts: everything is destroyed, and is there again.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gharvest_archive::snapshot;
use gharvest_github_simulator::Webhook;
use gharvest_testkit::checkout;
use tokio::process::Command;

use crate::{
    scene::{Finished, MIRRORED, SECRET, Scene, Serving, finish, until},
    up::nth_change,
};

const ITEMS: u64 = 120;
const CHANGES: u64 = 24;

/// One of the scripts, with the program that was just built.
async fn script(scene: &Scene, name: &str, settings: &[(&str, &str)]) -> Finished {
    let mut command: Command = scene.program(checkout().join("scripts").join(name), &[]);
    command.env("GHARVEST", env!("CARGO_BIN_EXE_gharvest")).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(settings.iter().copied());
    finish(command).await
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(path, bytes).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.filter(|name| name.ends_with(".tar.zst")).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_destroyed_is_restored_from_a_snapshot_made_under_load() {
    let scene = Scene::new(ITEMS);
    scene.done(&["keys", "add", "reporter", "--role", "read"]).await;
    let serving = Serving::start(scene.command(&["mirror", MIRRORED, "--listen", "127.0.0.1:0"])).await;
    until("it is mirrored", async || scene.differences(MIRRORED).await.is_empty()).await;

    // Under load: changes arrive by webhook while the snapshot is made.
    scene.control.set_webhook(Some(Webhook::new(format!("{}/webhooks/github", serving.url), SECRET)));
    let made = async {
        let made = script(&scene, "make-snapshot", &[]).await;
        assert_eq!(made.code, Some(0), "{made:?}");
        PathBuf::from(made.stdout.trim())
    };
    let changed = async {
        for round in 0..CHANGES {
            scene.control.change(&scene.called(), nth_change(&scene, round)).unwrap();
            tokio::task::yield_now().await;
        }
        scene.control.webhooks_settled().await;
    };
    let (file, ()) = tokio::join!(made, changed);
    let manifest = snapshot::verify(&file).await.unwrap();
    assert_eq!(serving.end("TERM").await.0, Some(0));

    // Two schedulers: whoever finds the other at work does nothing and says so.
    let folder = file.parent().unwrap().to_owned();
    let lock = fs::File::open(folder.join(".lock")).unwrap();
    lock.lock().unwrap();
    for name in ["make-snapshot", "remove-old-snapshots"] {
        let refused = script(&scene, name, &[]).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("another process makes or removes snapshots"), "{refused:?}");
    }
    lock.unlock().unwrap();
    assert_eq!(names(&folder).len(), 1);

    // A copy elsewhere with what people made in Kibana; then everything is gone.
    let (elsewhere, fetched) = (scene.folder().join("elsewhere"), scene.folder().join("fetched"));
    let dashboards = scene.folder().join("dashboards.ndjson");
    fs::write(&dashboards, "{\"type\":\"dashboard\"}\n").unwrap();
    let (place, with) = (elsewhere.display().to_string(), dashboards.display().to_string());
    scene.done(&["snapshot", "backup", "--to", &place, "--with", &with]).await;
    fs::remove_dir_all(scene.data_dir()).unwrap();
    fs::remove_file(&dashboards).unwrap();

    let into = fetched.display().to_string();
    scene.done(&["snapshot", "fetch", "--from", &place, "--folder", &into]).await;
    let copies = names(&fetched);
    assert_eq!(copies.len(), 1, "{copies:?}");
    assert!(has_file(&fetched, "dashboards.ndjson"), "the dashboards are there again");

    // A damaged one is refused by name, and nothing is begun.
    let damaged = scene.folder().join("damaged.tar.zst");
    fs::copy(fetched.join(&copies[0]), &damaged).unwrap();
    damage(&damaged);
    let refused = scene.run(&["snapshot", "restore", &damaged.display().to_string()]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("damaged.tar.zst"), "{refused:?}");
    assert!(!scene.data_dir().join("archive/archive.json").is_file());

    let latest = fetched.join("latest").display().to_string();
    scene.done(&["snapshot", "restore", &latest]).await;
    is_as_in(&scene, &manifest).await;
    scene.done(&["rebuild"]).await;
    scene.done(&["verify"]).await;

    let listed = scene.done(&["keys", "list"]).await.stdout;
    assert!(listed.contains("reporter"), "{listed}");
    assert!(manifest.objects.keys().any(|key| key.starts_with("cursors/")), "{:?}", manifest.objects.keys());
    let repositories = scene.json(&["status", "--json"]).await["repositories"].to_string();
    assert!(repositories.contains(MIRRORED), "{repositories}");

    // It goes on where the snapshot was: what changed since is fetched, without a track or a mirror anew.
    let mut command = scene.command(&["up", "--listen", "127.0.0.1:0"]);
    command.env("GHARVEST_SEEDER__RECONCILE_EVERY", "1s");
    let serving = Serving::start(command).await;
    until("it has caught up", async || scene.differences(MIRRORED).await.is_empty()).await;
    assert_eq!(serving.end("TERM").await.0, Some(0));
    assert_eq!(scene.control.violations(), []);
}

/// Every object of the archive has the checksum of the manifest, and there is no other.
async fn is_as_in(scene: &Scene, manifest: &snapshot::Manifest) {
    let archive = scene.data_dir().join("archive");
    for (key, expected) in &manifest.objects {
        let path = archive.join(key);
        if path.is_file() {
            assert_eq!(&snapshot::checksum(&path).await.unwrap(), expected, "{key}");
        } else {
            assert!(key.starts_with("current/") && path.is_symlink(), "{key} is missing");
        }
    }
    let again = script(scene, "make-snapshot", &[]).await;
    assert_eq!(again.code, Some(0), "{again:?}");
    let again = snapshot::verify(Path::new(again.stdout.trim())).await.unwrap();
    assert_eq!((again.records, again.objects), (manifest.records, manifest.objects.clone()));
}

fn has_file(folder: &Path, wanted: &str) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(wanted))
            || path.is_dir() && has_file(&path, wanted)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn old_snapshots_go_and_the_last_good_one_stays() {
    let scene = Scene::new(2);
    let serving = Serving::start(scene.command(&["mirror", MIRRORED, "--listen", "127.0.0.1:0"])).await;
    until("it is mirrored", async || scene.differences(MIRRORED).await.is_empty()).await;
    assert_eq!(serving.end("TERM").await.0, Some(0));
    let made = script(&scene, "make-snapshot", &[]).await;
    let made = PathBuf::from(made.stdout.trim());
    let folder = made.parent().unwrap();
    let old = |day: &str| folder.join(format!("gharvest-{day}T031700Z.tar.zst"));
    for day in ["20250101", "20250102"] {
        fs::copy(&made, old(day)).unwrap();
    }
    // With a young good one, nothing older than a week stays.
    let removed = script(&scene, "remove-old-snapshots", &[]).await;
    assert_eq!((removed.code, removed.stdout.lines().count()), (Some(0), 2), "{removed:?}");
    assert_eq!(names(folder), [made.file_name().unwrap().to_str().unwrap()]);
    // The only good one is old; a younger one is damaged.
    fs::copy(&made, old("20250101")).unwrap();
    fs::rename(&made, old("20250102")).unwrap();
    damage(&old("20250102"));
    let removed = script(&scene, "remove-old-snapshots", &[]).await;
    assert_eq!(removed.code, Some(0), "{removed:?}");
    assert_eq!(names(folder), ["gharvest-20250101T031700Z.tar.zst"]);
    assert!(
        scene.done(&["snapshot", "verify", &folder.join("latest").display().to_string()]).await.stderr.contains("good")
    );
}
