//! Sections of pages that are written by a test, so that they are never out of date.

use std::{fs, path::Path};

/// Fails unless the section `name` of a page in `_docs` holds this text, between the lines `<!-- NAME begins -->` and
/// `<!-- NAME ends -->`. With `GHARVEST_UPDATE_DOCS=1` it writes the section instead.
///
/// # Panics
/// If the page has no such section or another text in it.
pub fn page_section(page: &str, name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../_docs").join(page);
    let found = fs::read_to_string(&path).expect("the page can be read");
    let (begin, end) = (format!("<!-- {name} begins -->\n"), format!("<!-- {name} ends -->"));
    let (before, rest) = found.split_once(&begin).expect("the page has the section's first line");
    let (section, after) = rest.split_once(&end).expect("the page has the section's last line");
    if section == text {
        return;
    }
    assert!(
        std::env::var_os("GHARVEST_UPDATE_DOCS").is_some(),
        "the section {name} of _docs/{page} is out of date: run this test once with GHARVEST_UPDATE_DOCS=1"
    );
    fs::write(&path, format!("{before}{begin}{text}{end}{after}")).expect("the page can be written");
}

/// A table of behaviours and the tests of that name: one row each.
pub fn behaviour_table(names: &[&str]) -> String {
    let row = |name: &&str| format!("| {} | `{name}` |\n", name.replace('_', " "));
    let rows: String = names.iter().map(row).collect();
    format!("| behaviour | test |\n| --- | --- |\n{rows}")
}
