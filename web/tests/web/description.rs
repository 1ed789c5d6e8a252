//! The API against its own description, by schemathesis: whatever the description allows is asked, and what comes back
//! is compared with it.

use std::process::Command;

use axum::http::StatusCode;
use gharvest_testkit::python_tool;
use tokio::net::TcpListener;

use crate::mirror::Mirror;

/// Which tool, at which version.
const TOOL: (&str, &str) = ("schemathesis", "4.32.5");

/// What answers must never be, and must be.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance";

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_description_allows_is_answered_as_it_says() {
    let test = "whatever_the_description_allows_is_answered_as_it_says";
    let (package, version) = TOOL;
    let Some(tool) = python_tool(test, package, version, "schemathesis") else { return };
    let mirror = Mirror::new().await;
    mirror.bury(2).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(gharvest_web::serve_on(listener, mirror.state.clone()));
    let folder = tempfile::tempdir().unwrap();
    // Generated names find nothing: half of the work is to be done on what is there.
    let known = "[parameters]\n\"path.owner\" = \"octo\"\n\"path.name\" = \"box\"\n\"path.number\" = 1\n";
    std::fs::write(folder.path().join("known.toml"), known).unwrap();
    std::fs::write(folder.path().join("unknown.toml"), "").unwrap();
    for config in ["known.toml", "unknown.toml"] {
        let mut command = Command::new(&tool);
        command.arg("--config-file").arg(folder.path().join(config)).arg("run");
        command.arg(format!("http://{address}/api/v1/openapi.json")).args(["--checks", CHECKS]);
        command.args(["--max-examples", "8", "--seed", "1", "--workers", "1", "--no-color"]);
        command.current_dir(folder.path());
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{config}: {said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(!said.contains("Unresolvable references"), "{said}");
    }
    assert_eq!(mirror.get("/api/v1/search").await.status, StatusCode::OK);
}
