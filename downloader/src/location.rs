//! What an address of GitHub's API names.

use gharvest_model::{RepositoryId, RepositoryName};

/// A repository, as an address names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Id(RepositoryId),
    Name(RepositoryName),
}

/// What an address names: `/repositories/7/issues/3`, `/repos/owner/name/issues/3`, or the repository alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) place: Place,
    pub(crate) number: Option<u64>,
    /// The number is a discussion's: not an item.
    pub(crate) discussion: bool,
}

/// Reads an address below any base: GitHub Enterprise has `/api/v3` before it. None if it names no repository.
pub(crate) fn parse(address: &str) -> Option<Location> {
    let path = address.split(['?', '#']).next()?;
    let segments: Vec<&str> = path.split('/').collect();
    let at = segments.iter().position(|segment| matches!(*segment, "repositories" | "repos"))?;
    let (place, rest) = if segments[at] == "repositories" {
        (Place::Id(RepositoryId(segments.get(at + 1)?.parse().ok()?)), segments.get(at + 2..)?)
    } else {
        let name = RepositoryName::new(segments.get(at + 1)?, segments.get(at + 2)?).ok()?;
        (Place::Name(name), segments.get(at + 3..)?)
    };
    let (number, discussion) = match rest {
        ["issues" | "pulls", number, ..] => (Some(number.parse().ok()?), false),
        ["discussions", number, ..] => (Some(number.parse().ok()?), true),
        _ => (None, false),
    };
    Some(Location { place, number, discussion })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_both_forms_below_any_base() {
        let by_id = |id, number| Location { place: Place::Id(RepositoryId(id)), number, discussion: false };
        for (address, expected) in [
            ("https://api.github.com/repositories/7", Some(by_id(7, None))),
            ("https://api.github.com/repositories/7/issues/3", Some(by_id(7, Some(3)))),
            ("https://ghe.example/api/v3/repositories/7/pulls/3?x=1", Some(by_id(7, Some(3)))),
            ("https://api.github.com/repositories/x/issues/3", None),
            ("https://api.github.com/repositories/7/issues/x", None),
            ("https://api.github.com/users/7", None),
            ("", None),
        ] {
            assert_eq!(parse(address), expected, "{address}");
        }
        let location = parse("https://api.github.com/repos/rust-lang/log/discussions/9").unwrap();
        assert_eq!(location.place, Place::Name("rust-lang/log".parse().unwrap()));
        assert!(location.discussion && location.number == Some(9));
        assert_eq!(parse("https://api.github.com/repos/../etc/issues/1"), None);
    }
}
