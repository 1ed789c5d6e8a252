//! Packages of Python: servers' programs and tools, fetched once into the target folder.

use std::{path::PathBuf, process::Command};

use crate::{
    fetched::{fetched, run},
    skip,
};

/// A program of a package, at a version, installed with all it needs into a virtual environment of its own. None,
/// after saying that `test` is skipped, if it cannot be had.
pub fn python_tool(test: &str, package: &str, version: &str, program: &str) -> Option<PathBuf> {
    let installed = fetched("python", &format!("{package}-{version}-tool"), |folder| {
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
    fetched("python", &format!("{package}-{version}"), |folder| {
        let mut command = Command::new("python3");
        command.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target"]);
        run(command.arg(folder).arg(format!("{package}=={version}")))
    })
}
