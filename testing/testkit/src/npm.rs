//! Packages of npm that tests read, fetched once into the target folder.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use crate::skip;

/// The folder of a package, at a version. None, after saying that `test` is skipped, if npm is missing or cannot fetch it.
///
/// # Panics
/// If the target folder cannot be written.
pub fn npm_package(test: &str, name: &str, version: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(target, PathBuf::from);
    let folder = target.join("npm").join(format!("{}-{version}", name.replace('/', "-")));
    fs::create_dir_all(&folder).expect("the target folder can be written");
    // Tests of several processes may ask at once.
    let lock = File::create(folder.join("lock")).expect("the target folder can be written");
    lock.lock().expect("a file can be locked");
    let package = folder.join("node_modules").join(name);
    if !package.join("package.json").is_file() {
        let installed = Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-save", "--prefix"])
            .arg(&folder)
            .arg(format!("{name}@{version}"))
            .output();
        if !installed.as_ref().is_ok_and(|output| output.status.success()) {
            skip(test, &format!("npm cannot fetch {name}@{version}: {installed:?}"));
            return None;
        }
    }
    Some(package)
}
