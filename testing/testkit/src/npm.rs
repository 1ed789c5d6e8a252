//! Packages of npm that tests read, fetched once into the target folder.

use std::{path::PathBuf, process::Command};

use crate::{
    fetched::{fetched, run},
    skip,
};

/// The folder of a package, at a version, with what it depends on beside it. None, after saying that `test` is skipped,
/// if npm is missing or cannot fetch it.
pub fn npm_package(test: &str, name: &str, version: &str) -> Option<PathBuf> {
    let installed = fetched("npm", &format!("{}-{version}", name.replace('/', "-")), |folder| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-save", "--prefix"]);
        run(npm.arg(folder).arg(format!("{name}@{version}")))
    });
    match installed {
        Ok(folder) => Some(folder.join("node_modules").join(name)),
        Err(reason) => {
            skip(test, &format!("npm cannot fetch {name}@{version}: {reason}"));
            None
        }
    }
}
