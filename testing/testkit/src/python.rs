//! Packages of Python: servers' programs and tools, fetched once into the target folder.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use crate::skip;

/// A program of a package, at a version, installed with all it needs into a virtual environment of its own. None,
/// after saying that `test` is skipped, if it cannot be had.
pub fn python_tool(test: &str, package: &str, version: &str, program: &str) -> Option<PathBuf> {
    let installed = once(&format!("{package}-{version}-tool"), |folder| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        let pip = folder.join("bin/pip");
        run(Command::new(pip)
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .arg(format!("{package}=={version}")))
    });
    match installed {
        Ok(folder) => Some(folder.join("bin").join(program)),
        Err(reason) => {
            skip(test, &format!("{package} {version} cannot be had: {reason}"));
            None
        }
    }
}

/// The folder of a package, at a version, without what it depends on. An error says why it cannot be had.
pub(crate) fn python_package(package: &str, version: &str) -> Result<PathBuf, String> {
    once(&format!("{package}-{version}"), |folder| {
        let mut command = Command::new("python3");
        command.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target"]);
        run(command.arg(folder).arg(format!("{package}=={version}")))
    })
}

/// A folder of this name in the target folder, filled by the first who asks.
fn once(name: &str, fill: impl FnOnce(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(target, PathBuf::from);
    let folder = target.join("python").join(name);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    // Tests of several processes may ask at once.
    let lock = File::create(folder.join("lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    let done = folder.join("done");
    if !done.is_file() {
        fill(&folder)?;
        fs::write(&done, "").map_err(|error| error.to_string())?;
    }
    Ok(folder)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}
