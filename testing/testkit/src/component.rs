//! The programs of the workspace, for tests that run several of them.

use std::path::PathBuf;

/// Where a component's program is: beside this program, or beside a test's own folder, where `cargo test --workspace`
/// puts it.
///
/// # Panics
/// If it has not been built: a test of one package alone builds only that package's programs.
pub fn component(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running program knows where it is");
    let folder = test.parent().expect("a program lies in a folder");
    let folder = if folder.ends_with("deps") { folder.parent().expect("it lies in target/PROFILE") } else { folder };
    let program = folder.join(name);
    assert!(program.is_file(), "{} is missing: `cargo build --workspace --bins` makes it", program.display());
    program
}
