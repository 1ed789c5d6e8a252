//! SIGKILL at moments that a seed chooses: nothing is lost, nothing is half done.

use std::process::Stdio;

use crate::scene::{MIRRORED, Scene, count, outstanding, until};

const ITEMS: u64 = 150;
const KILLS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_killed_again_and_again_ends_equal_to_github() {
    let scene = Scene::new(ITEMS);
    let mut random = fastrand::Rng::with_seed(11);
    let mut hits = 0;
    for round in 0..KILLS {
        // The rounds share the work between them; the last ones come when little but the index is left to do.
        let wanted = scene.requests() + random.u64(3..35);
        let mut child = mirror(&scene).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut ended = None;
        until("it works or ends", async || {
            ended = child.try_wait().unwrap();
            ended.is_some() || scene.requests() >= wanted
        })
        .await;
        if let Some(status) = ended {
            assert_eq!(status.code(), Some(0), "round {round}");
            println!("round {round}: it was done before it could be killed");
            break;
        }
        child.kill().await.unwrap();
        let status = scene.json(&["status", "--json"]).await;
        let (in_work, left) = (count(&status, "leased"), outstanding(&status));
        println!("round {round}: killed with {in_work} jobs in work, {left} outstanding");
        hits += usize::from(left > 0);
    }
    println!("{hits} kills hit work");
    assert!(hits >= KILLS / 2, "{hits} kills hit work");

    let finished = crate::scene::finish(mirror(&scene)).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(scene.differences(MIRRORED).await, Vec::<String>::new());
    let status = scene.json(&["status", "--json"]).await;
    assert_eq!((outstanding(&status), count(&status, "buried")), (0, 0), "{status}");
    assert_eq!(status["repositories"][0]["complete"], true, "{status}");
    let verified = scene.run(&["verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let doctor = scene.json(&["doctor", "--offline", "--json"]).await;
    let counters = doctor.as_array().unwrap().iter().find(|finding| finding["found"] == "counters agree with the jobs");
    assert!(counters.is_some(), "{doctor}");
    assert_eq!(scene.control.violations(), []);
}

/// Leases are as short as they may be, and small: jobs of a killed process are not waited for long.
fn mirror(scene: &Scene) -> tokio::process::Command {
    let mut command = scene.command(&["mirror", MIRRORED, "--once", "--no-web"]);
    command
        .env("GHARVEST_DOWNLOADER__LEASE", "10s")
        .env("GHARVEST_DOWNLOADER__BATCH", "2")
        .env("GHARVEST_INDEXER__LEASE", "10s")
        .env("GHARVEST_INDEXER__BATCH", "20");
    command
}
