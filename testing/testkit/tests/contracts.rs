//! The page about contracts names tests by hand where one backend adds something: they must exist.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeSet, fs, path::Path};

/// Words of a table's last column in backticks that are names of functions.
fn named(page: &str) -> BTreeSet<String> {
    let last = page.lines().filter_map(|line| line.strip_suffix(" |")?.rsplit_once(" | ")).map(|(_, last)| last);
    let quoted = last.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let function = |name: &&str| {
        name.contains('_') && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    quoted.filter(function).map(str::to_owned).collect()
}

/// Adds the names of all functions of the sources below a folder.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            let names = source.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
            found.extend(names.map(str::to_owned));
        }
    }
}

#[test]
fn every_test_that_the_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let named = named(&fs::read_to_string(root.join("_docs/contracts.md")).unwrap());
    assert!(named.len() > 100, "the page's tables are read: {named:?}");
    let mut found = BTreeSet::new();
    let components = ["downloader", "gharvest", "seeder", "testing/testkit", "web", "webhook-receiver"];
    for folder in components.map(|name| format!("{name}/tests")).into_iter().chain(["crates".to_owned()]) {
        functions(&root.join(folder), &mut found);
    }
    let missing: Vec<_> = named.difference(&found).collect();
    assert!(missing.is_empty(), "_docs/contracts.md names tests that there are not: {missing:?}");
}
