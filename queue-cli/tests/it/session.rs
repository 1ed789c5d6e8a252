//! Commands one after the other, and what they said.

use std::path::Path;

use assert_cmd::Command;

use crate::world::{Served, World};

/// Where the commands of a session work.
pub(crate) struct Session {
    arguments: Vec<String>,
    said: String,
}

impl Session {
    /// On the backends of a world.
    pub(crate) fn direct(world: &World) -> Self {
        Self::at(world.folder.path())
    }

    /// On the backends of a folder.
    pub(crate) fn at(folder: &Path) -> Self {
        let folder = folder.to_str().unwrap().to_owned();
        Self { arguments: vec!["--data-dir".to_owned(), folder], said: String::new() }
    }

    /// Through a web front.
    pub(crate) fn remote(served: &Served, key: Option<&str>) -> Self {
        let mut arguments = vec!["--server".to_owned(), format!("http://{}", served.address)];
        arguments.extend(key.into_iter().flat_map(|key| ["--key".to_owned(), key.to_owned()]));
        Self { arguments, said: String::new() }
    }

    /// Runs a command; words are separated by spaces, one of several words stands in quotation marks.
    pub(crate) fn run(&mut self, line: &str) -> i32 {
        let mut command = Command::cargo_bin("queue-cli").unwrap();
        command.env_clear().env("HOME", "/nonexistent").args(&self.arguments).args(words(line));
        let output = command.output().unwrap();
        let code = output.status.code().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let mut said = format!("$ queue-cli {line}\n");
        for (mark, text) in [("", text(output.stdout)), ("! ", text(output.stderr))] {
            said.extend(text.lines().map(|line| format!("{mark}{}\n", steady(line).trim_end())));
        }
        said.push_str(&format!("= {code}\n\n"));
        self.said.push_str(&said);
        code
    }

    pub(crate) fn said(self) -> String {
        self.said
    }
}

fn words(line: &str) -> Vec<String> {
    line.split('\'')
        .enumerate()
        .flat_map(|(place, part)| match place % 2 {
            1 => vec![part.to_owned()],
            _ => part.split_whitespace().map(str::to_owned).collect(),
        })
        .collect()
}

/// A line without times that differ from run to run: those of the world, and those typed, lie before 2025.
fn steady(line: &str) -> String {
    let mut steady = String::new();
    let mut rest = line;
    while let Some(start) = rest.find("20") {
        let end = rest[start..].find('Z').map_or(rest.len(), |end| start + end + 1);
        let is_now = rest[start..end].parse::<jiff::Timestamp>().is_ok_and(|at| at.as_second() > 1_735_689_600);
        let until = if is_now { end } else { start + 2 };
        steady.push_str(&rest[..start]);
        steady.push_str(if is_now { "NOW" } else { "20" });
        rest = &rest[until..];
    }
    steady.push_str(rest);
    // Ages of what was just pushed.
    let mut words: Vec<String> = steady.split(' ').map(str::to_owned).collect();
    for place in 1..words.len() {
        if words[place] == "ago" && words[place - 1].ends_with('s') {
            words[place - 1] = "AGE".to_owned();
        }
    }
    words.join(" ")
}
