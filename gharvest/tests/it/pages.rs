//! What the pages tell people to type works as it stands there; `stack` does the same for the page of deployment.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use gharvest_github_simulator::Truth;
use gharvest_testkit::{checkout, component};
use serde_json::json;
use tokio::process::Command;

use crate::scene::{MIRRORED, Scene, finish};

/// A page of the project.
fn page(name: &str) -> String {
    fs::read_to_string(checkout().join(name)).unwrap()
}

/// The lines of a page's blocks of code that begin so, without what is said behind them.
fn commands(page: &str, program: &str) -> Vec<String> {
    let blocks = page.split("```").skip(1).step_by(2).flat_map(str::lines);
    let commands = blocks.filter(|line| line.starts_with(&format!("{program} ")));
    commands.map(|line| line.split(" #").next().unwrap().trim_end().to_owned()).collect()
}

/// Runs a line as a shell would, with our programs.
async fn run(scene: &Scene, line: &str) -> crate::scene::Finished {
    let mut command: Command = scene.program("sh", &["-c", line]);
    let programs = [env!("CARGO_BIN_EXE_gharvest").into(), component("queue-cli")];
    let folders = programs.iter().map(|program: &PathBuf| program.parent().unwrap());
    let usual = std::env::var_os("PATH").unwrap_or_default();
    let folders = folders.map(Path::to_owned).chain(std::env::split_paths(&usual));
    command.env("PATH", std::env::join_paths(folders).unwrap());
    finish(command).await
}

/// A folder as github-metadata-backup makes it, of what GitHub shows.
fn backup(scene: &Scene) -> PathBuf {
    let folder = scene.folder().join("backup");
    fs::create_dir_all(folder.join("issues")).unwrap();
    fs::create_dir_all(folder.join("pulls")).unwrap();
    for number in scene.control.truth_numbers(&scene.called()) {
        let Some(Truth::Present { issue, timeline, pull: None, .. }) = scene.control.truth(&scene.called(), number)
        else {
            continue;
        };
        let file = folder.join(format!("issues/{number}.json"));
        fs::write(file, json!({"type": "issue", "issue": issue, "events": timeline}).to_string()).unwrap();
    }
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_readme_and_of_the_drill_works() {
    let scene = Scene::new(12);
    scene.done(&["mirror", MIRRORED, "--once", "--no-web"]).await;
    let number = scene.control.truth_numbers(&scene.called())[0];
    let folder = backup(&scene).display().to_string();
    let lines = commands(&page("README.md"), "gharvest");
    assert!(lines.len() >= 8, "{lines:?}");
    for line in lines {
        let line = line.replace("rust-lang/log#12", &format!("{MIRRORED}#{number}")).replace("rust-lang/log", MIRRORED);
        let line = line.replace("FOLDER", &folder).replace("bitcoin-core/secp256k1", MIRRORED);
        let finished = run(&scene, &line).await;
        // What it finds in this set-up is not what is tried here.
        let is_doctor = line.ends_with("doctor") && finished.code == Some(3);
        assert!(finished.code == Some(0) || is_doctor, "{line}: {finished:?}");
    }

    let place = scene.folder().join("place").display().to_string();
    scene.done(&["snapshot", "create"]).await;
    scene.done(&["snapshot", "backup", "--to", &place]).await;
    let lines = commands(&page("_docs/backups.md"), "gharvest");
    assert!(lines.len() >= 4, "{lines:?}");
    let here = |name: &str| scene.folder().join(name).display().to_string();
    for line in lines {
        let line = line.replace("PLACE", &place).replace("FOLDER", &here("fetched")).replace("EMPTY", &here("empty"));
        let finished = run(&scene, &line).await;
        assert_eq!(finished.code, Some(0), "{line}: {finished:?}");
    }
    let finished = run(&scene, &commands(&page("_docs/queue-cli.md"), "queue-cli")[0]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

/// Words of commands between backticks, as far as they name a command: `gharvest keys add NAME` is `keys add`.
fn named(page: &str, program: &str) -> BTreeSet<Vec<String>> {
    let quoted = page.split("```").step_by(2).flat_map(|text| text.split('`').skip(1).step_by(2));
    let words = quoted.filter_map(|code| code.strip_prefix(program)?.strip_prefix(' '));
    let is_word = |word: &&str| word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    let commands = words.map(|words| {
        let words = words.split(' ').take_while(|word| is_word(word) && !word.starts_with('-'));
        words.map(str::to_owned).collect::<Vec<_>>()
    });
    commands.filter(|words| !words.is_empty()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_that_a_page_names_exists() {
    let scene = Scene::new(1);
    let mut pages: Vec<String> = vec!["README.md".into(), "CONTRIBUTING.md".into()];
    let docs = fs::read_dir(checkout().join("_docs")).unwrap().map(|entry| entry.unwrap().file_name());
    pages.extend(
        docs.filter_map(|name| Some(format!("_docs/{}", name.to_str()?.strip_suffix(".md")?))).map(|name| name + ".md"),
    );
    let mut seen = 0;
    for name in pages {
        let text = page(&name);
        for (program, path) in
            [("gharvest", env!("CARGO_BIN_EXE_gharvest").into()), ("queue-cli", component("queue-cli"))]
        {
            for words in named(&text, program) {
                // A value may look like a command's name: `schedules run snapshot`.
                let asked = async |words: &[String]| {
                    let words: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
                    finish(scene.program(&path, &words)).await.code == Some(0)
                };
                let mut known = false;
                for length in (1..=words.len()).rev() {
                    known = known || asked(&words[..length]).await;
                }
                assert!(known, "{name}: there is no {program} {words:?}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 20, "{seen} commands");
}
