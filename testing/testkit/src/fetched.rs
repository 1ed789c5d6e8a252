//! Folders of things fetched from outside, made once in the target folder and shared by all test processes.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// The folder `kind/name` in the target folder, filled by the first process that asks; the others wait for it. What an
/// interrupted process left half made is thrown away first. An error says why it cannot be filled.
pub(crate) fn fetched(
    kind: &str,
    name: &str,
    fill: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let said = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let parent = target().join(kind);
    fs::create_dir_all(&parent).map_err(|error| said(&parent, error))?;
    // Beside the folder, so that the folder can be removed while the lock is held.
    let lock = parent.join(format!("{name}.lock"));
    let held = File::create(&lock).map_err(|error| said(&lock, error))?;
    held.lock().map_err(|error| said(&lock, error))?;
    let (folder, done) = (parent.join(name), parent.join(format!("{name}.done")));
    if !done.is_file() {
        if folder.try_exists().map_err(|error| said(&folder, error))? {
            fs::remove_dir_all(&folder).map_err(|error| said(&folder, error))?;
        }
        fs::create_dir(&folder).map_err(|error| said(&folder, error))?;
        fill(&folder)?;
        fs::write(&done, "").map_err(|error| said(&done, error))?;
    }
    Ok(folder)
}

/// Runs an installer to its end; an error holds what it complained about.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Where builds go: what outlives a test run and is never committed.
fn target() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    std::env::var_os("CARGO_TARGET_DIR").map_or(target, PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_fill_is_begun_anew_and_a_finished_one_is_kept() {
        let name = format!("test-{}", std::process::id());
        let interrupted = fetched("fetched", &name, |folder| {
            fs::write(folder.join("half"), "").unwrap();
            Err("killed".to_owned())
        });
        assert_eq!(interrupted, Err("killed".to_owned()));
        let folder = fetched("fetched", &name, |folder| {
            assert!(!folder.join("half").try_exists().unwrap());
            fs::write(folder.join("whole"), "").map_err(|error| error.to_string())
        })
        .unwrap();
        let again = fetched("fetched", &name, |_| Err("filled twice".to_owned()));
        assert_eq!(again.as_ref(), Ok(&folder));
        assert!(folder.join("whole").is_file());
        fs::remove_dir_all(&folder).unwrap();
        fs::remove_file(folder.with_extension("done")).unwrap();
        fs::remove_file(folder.with_extension("lock")).unwrap();
    }
}
