//! A disk that gets full: said as such, nothing is half, and the work goes on when there is room.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use gharvest_archive::{Archive, ErrorKind, InboxEntry, Options, Written, snapshot::verify};
use gharvest_model::Record;
use gharvest_testkit::skip;
use serde_json::{Value, json};

use crate::place::{ID, fact, item, present, record};

/// Names the folder of the small disk to the child, which is this test binary again.
const FOLDER: &str = "GHARVEST_TEST_SMALL_DISK";

#[tokio::test]
async fn a_full_disk_is_told_as_one_and_loses_nothing() {
    let test = "a_full_disk_is_told_as_one_and_loses_nothing";
    let folder = tempfile::tempdir().unwrap();
    // A file system in memory in a mount namespace of our own: nobody else sees it, and it ends with the process.
    let own_namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]).arg(folder.path());
        command
    };
    let mount = r#"mount -t tmpfs -o size=1m tmpfs "$1""#;
    let tried = own_namespace(mount).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !tried.is_ok_and(|status| status.success()) {
        skip(test, "no mount namespace of one's own: needs unshare of util-linux and user namespaces");
        return;
    }
    let output = own_namespace(&format!(r#"{mount} && shift && exec "$@""#))
        .arg(std::env::current_exe().unwrap())
        .args(["full::fill_a_small_disk", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

#[tokio::test]
#[ignore = "a process of its own on a small disk, run by the test beside it"]
async fn fill_a_small_disk() {
    let Some(folder) = std::env::var_os(FOLDER).map(std::path::PathBuf::from) else { return };
    let archive = open(&folder.join("archive")).await;
    std::fs::write(folder.join("reserve"), vec![1; 200_000]).unwrap();
    let (_, manifest) = archive.snapshot(&folder.join("snapshots")).await.unwrap();
    let mut stored = 0;
    let full = loop {
        match archive.put_record(large(stored + 1)).await {
            Ok(written) => assert!(matches!(written, Written::Stored(_))),
            Err(error) => break error,
        }
        stored += 1;
        archive.update_ledger(ID, &[present(stored)]).await.unwrap();
    };
    assert!(full.kind() == ErrorKind::Full && full.is_retryable(), "{full}");
    assert!(full.to_string().contains("no space is left"), "{full}");
    assert!(archive.space().await.unwrap().free.unwrap() < 60_000);
    fill_up(&folder);
    let entry = InboxEntry { item: None, fact: fact("d1", 1), triggers: Value::Null };
    for error in [
        archive.put_record(large(stored + 1)).await.unwrap_err(),
        archive.put_inbox(&entry).await.unwrap_err(),
        archive.set_cursor("updates/7", json!("x".repeat(10_000))).await.unwrap_err(),
        archive.put_part(ID, "labels", &json!("x".repeat(10_000))).await.unwrap_err(),
        archive.update_ledger(ID, &(1..3000).map(present).collect::<Vec<_>>()).await.unwrap_err(),
        archive.snapshot(&folder.join("snapshots")).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    }
    for number in 1..=stored {
        assert_eq!(archive.record(item(number)).await.unwrap().unwrap().issue, large(number).issue);
    }
    let latest = folder.join("snapshots/latest");
    assert_eq!(verify(&latest).await.unwrap(), manifest, "the good snapshot stays");
    assert!(!folder.join("snapshots/.partial").try_exists().unwrap(), "what was begun takes no room");

    std::fs::remove_file(folder.join("reserve")).unwrap();
    std::fs::remove_file(folder.join("filler")).unwrap();
    archive.put_record(large(stored + 1)).await.unwrap();
    archive.put_inbox(&entry).await.unwrap();
    archive.update_ledger(ID, &[present(stored + 1)]).await.unwrap();
    let ledger = open(&folder.join("archive")).await.ledger(ID).await.unwrap();
    assert_eq!(ledger.highest(), 2999, "what could not be written went with the next change");
}

async fn open(folder: &Path) -> Archive {
    Archive::open(&format!("file:{}", folder.display()), &Options::default()).await.unwrap()
}

fn large(number: u64) -> Record {
    let mut record = record(number, "large");
    record.timeline = vec![json!({"body": "x".repeat(50_000)})];
    record
}

/// Takes what is left, to the last byte.
fn fill_up(folder: &Path) {
    use std::io::Write as _;
    let mut filler = std::fs::File::create(folder.join("filler")).unwrap();
    while filler.write_all(&[1; 4096]).is_ok() {}
}
