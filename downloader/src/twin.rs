//! Private twins: a repository may hold placeholders for what strangers reported, until a moderator has looked at it;
//! the reports themselves stand in a private repository, each linked with its placeholder.
//!
//! A placeholder is known by its title. The link is a cross reference in its timeline, which GitHub makes of the address
//! in the private item's body and shows to tokens that see both repositories; or the address in its own body. What the
//! private item says is kept as the record's `twin`, and the record is private as long as it is there: it goes when the
//! placeholder gets another title. A twin that is not shown any more stays as it was seen last.
//!
//! A record that everybody sees holds nothing of a private repository: GitHub embeds the whole private item in events of
//! public timelines, for tokens that see it, so such events are left out, as GitHub does for everybody else. Of a transfer
//! from or to a private repository a webhook tells all: what is kept of the other side is its ids.

use gharvest_archive::Repository;
use gharvest_github::{Answer, Purpose, Resource};
use gharvest_model::{Record, RepositoryName, record::Visibility};
use gharvest_service_kit::settings::Twins;
use serde_json::{Value, json};

use crate::{
    Downloader,
    item::visibility,
    location::{self, Place},
    outcome::Failure,
};

/// The key among a record's ETags of that of its twin.
const ETAG: &str = "twin";

/// Which items are placeholders, and where what they stand for is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TwinOptions {
    /// Repositories of placeholders and their private twins.
    pub twins: Vec<Twins>,
    /// Titles of placeholders, in full.
    pub titles: Vec<String>,
}

impl TwinOptions {
    /// The private twin of a repository, by a name that this has or had.
    fn of(&self, repository: &Repository) -> Option<&RepositoryName> {
        let is_name = |name: &RepositoryName| {
            name.key() == repository.full_name.key()
                || repository.former_names.iter().any(|old| old.key() == name.key())
        };
        Some(&self.twins.iter().find(|twins| is_name(&twins.public))?.private)
    }

    /// Whether a record has a private twin, or may get one.
    pub(crate) fn is_of_twin(&self, repository: &Repository, record: &Record) -> bool {
        record.twin.is_some() || self.of(repository).is_some() && self.is_placeholder(record)
    }

    fn is_placeholder(&self, record: &Record) -> bool {
        let title = record.core().and_then(|core| core.get("title")?.as_str()).unwrap_or_default().trim();
        self.titles.iter().any(|placeholder| placeholder.trim() == title)
    }

    /// A placeholder without its twin may have been stored without the event that links them: its timeline is asked for
    /// whether it changed or not.
    pub(crate) fn without_what_hides_a_link(&self, repository: &Repository, mut known: Record) -> Record {
        if known.twin.is_none() && self.of(repository).is_some() && self.is_placeholder(&known) {
            known.etags.remove("timeline");
        }
        known
    }
}

impl Downloader {
    /// Takes the content of a placeholder's private twin, and says who may see the record.
    pub(crate) async fn take_twin(
        &self,
        repository: &Repository,
        existing: Option<&Record>,
        record: &mut Record,
        purpose: Purpose,
    ) -> Result<(), Failure> {
        record.twin = None;
        if let Some(name) = self.options.twins.of(repository).filter(|_| self.options.twins.is_placeholder(record)) {
            record.twin = self.twin(name, existing, record, purpose).await?;
        }
        record.visibility = record.visibility_in(visibility(repository));
        // Here as well as where it is stored: images are looked for in what is shown.
        withhold_private(record);
        Ok(())
    }

    async fn twin(
        &self,
        name: &RepositoryName,
        existing: Option<&Record>,
        record: &mut Record,
        purpose: Purpose,
    ) -> Result<Option<Value>, Failure> {
        let number_of = |twin: &Value| twin.get("number").and_then(Value::as_u64);
        let known = existing.and_then(|existing| existing.twin.as_ref()).filter(|known| is_in(known, name));
        let Some(number) = link(record, name).or_else(|| number_of(known?)) else {
            return Ok(counted("missing", None));
        };
        let known = known.filter(|known| number_of(known) == Some(number)).cloned();
        let etag = existing.filter(|_| known.is_some()).and_then(|existing| existing.etags.get(ETAG)?.as_str());
        let answer = self.client.get(&Resource::Issue(name.clone(), number), etag, purpose).await?;
        Ok(match answer {
            Answer::Found(found) if number_of(&found.body) == Some(number) => {
                record.etags.extend(found.etag.map(|etag| (ETAG.to_owned(), etag.into())));
                counted("taken", Some(json!({"repository": name, "number": number, "issue": found.body})))
            }
            other if known.is_some() => {
                if matches!(other, Answer::NotModified) {
                    record.etags.extend(etag.map(|etag| (ETAG.to_owned(), etag.into())));
                }
                counted("kept", known)
            }
            _ => {
                tracing::warn!(item = %record.id(), twin = %format_args!("{name}#{number}"),
                    "GitHub does not show the private twin of a placeholder: a token has to see its repository");
                counted("missing", None)
            }
        })
    }
}

fn counted(result: &'static str, twin: Option<Value>) -> Option<Value> {
    metrics::counter!("gharvest_twins_total", "result" => result).increment(1);
    twin
}

fn is_in(twin: &Value, name: &RepositoryName) -> bool {
    twin.get("repository").and_then(Value::as_str).is_some_and(|known| known.eq_ignore_ascii_case(&name.to_string()))
}

/// The number of the item in the private repository that a placeholder is linked with.
fn link(record: &Record, name: &RepositoryName) -> Option<u64> {
    let referred = record.timeline.iter().find_map(|event| {
        let source = event.pointer("/source/issue")?;
        let place = location::parse(source.get("repository_url").or(source.get("url"))?.as_str()?)?.place;
        let is_there = matches!(&place, Place::Name(place) if place.key() == name.key());
        is_there.then(|| source.get("number")?.as_u64()).flatten()
    });
    referred.or_else(|| named_in(record.core()?.get("body")?.as_str()?, name))
}

/// The first item of a repository that a text names, by its address or as `owner/name#12`.
fn named_in(text: &str, name: &RepositoryName) -> Option<u64> {
    let (text, name) = (text.to_ascii_lowercase(), name.key());
    let number_after = |(at, found): (usize, &str)| {
        let is_longer = text[..at].chars().next_back().is_some_and(|before| before.is_alphanumeric() || before == '-');
        let rest = &text[at + found.len()..];
        let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        if is_longer { None } else { rest[..end].parse().ok() }
    };
    ["/issues/", "#"].iter().find_map(|sign| text.match_indices(&format!("{name}{sign}")).find_map(number_after))
}

/// Takes out of a record that everybody sees what is of private repositories.
pub(crate) fn withhold_private(record: &mut Record) {
    if record.visibility == Visibility::Public {
        record.timeline.retain(|event| !shows_private_item(event));
        record.kept.iter_mut().for_each(|fact| withhold_transfer(&mut fact.facts));
    }
}

/// Leaves of the private side of a transfer, as a webhook told it, only its ids.
fn withhold_transfer(facts: &mut Value) {
    for (issue, repository) in
        [("/changes/new_issue", NEW_REPOSITORY), ("/changes/old_issue", "/changes/old_repository")]
    {
        if !is_private_side(facts, repository) {
            continue;
        }
        let id = |facts: &Value, side: &str| facts.pointer(side).and_then(|side| side.get("id")).cloned();
        let (issue_id, repository_id) = (id(facts, issue), id(facts, repository));
        if let Some(issue) = facts.pointer_mut(issue) {
            *issue = json!({"id": issue_id});
        }
        if let Some(repository) = facts.pointer_mut(repository) {
            *repository = json!({"id": repository_id, "private": true});
        }
    }
}

/// Where a webhook's facts have the repository that an item is transferred to.
const NEW_REPOSITORY: &str = "/changes/new_repository";

fn is_private_side(facts: &Value, repository: &str) -> bool {
    facts.pointer(repository).and_then(|repository| repository.get("private")) == Some(&Value::Bool(true))
}

/// A transfer's target as a webhook told it, `owner/name#12`; none if that is private: it may be named nowhere.
pub(crate) fn told_target(facts: &Value) -> Option<String> {
    if is_private_side(facts, NEW_REPOSITORY) {
        return None;
    }
    let name = facts.pointer(NEW_REPOSITORY)?.get("full_name")?.as_str()?;
    let number = facts.pointer("/changes/new_issue/number")?.as_u64()?;
    Some(format!("{name}#{number}"))
}

/// Whether a timeline event embeds an item of a private repository.
fn shows_private_item(event: &Value) -> bool {
    ["/source/issue", "/sub_issue", "/parent_issue", "/blocked_by", "/blocking"].iter().any(|item| {
        event.pointer(item).and_then(|item| item.pointer("/repository/private")) == Some(&Value::Bool(true))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_named_by_its_address_or_in_short() {
        let name = "Octo/Things-private".parse().unwrap();
        for (text, number) in [
            ("<p>see https://github.com/octo/things-private/issues/12</p>", Some(12)),
            ("<!-- https://ghe.example/Octo/Things-Private/issues/7#issuecomment-1 -->", Some(7)),
            ("(octo/things-private#3)", Some(3)),
            ("https://github.com/octo/things/issues/12", None),
            ("octo/things-private#x octo/things-private/issues/", None),
            ("my-octo/things-private#3", None),
            ("octo/things-private#99999999999999999999999", None),
        ] {
            assert_eq!(named_in(text, &name), number, "{text}");
        }
    }

    #[test]
    fn events_that_embed_private_items_are_known() {
        let event = |key: &str, private: Value| json!({ key: {"repository": {"private": private}, "title": "secret"} });
        assert!(shows_private_item(&event("sub_issue", json!(true))));
        assert!(!shows_private_item(&event("sub_issue", json!(false))));
        assert!(!shows_private_item(&event("sub_issue", Value::Null)));
        assert!(shows_private_item(&json!({"source": {"issue": {"repository": {"private": true}}}})));
        assert!(!shows_private_item(&json!({"event": "labeled"})));
    }

    #[test]
    fn of_a_private_side_of_a_transfer_only_ids_are_left() {
        let side = |word: &str, private: bool| {
            json!({"changes": {
                format!("{word}_issue"): {"id": 5, "number": 9, "title": "secret"},
                format!("{word}_repository"): {"id": 7, "full_name": "c/secret", "private": private},
            }})
        };
        for word in ["new", "old"] {
            let mut facts = side(word, true);
            withhold_transfer(&mut facts);
            let issue = (format!("{word}_issue"), json!({"id": 5}));
            let repository = (format!("{word}_repository"), json!({"id": 7, "private": true}));
            let ids = Value::Object([issue, repository].into_iter().collect());
            assert_eq!(facts, json!({"changes": ids}));
            withhold_transfer(&mut facts);
            assert_eq!(facts, json!({"changes": ids}), "twice");
            let mut public = side(word, false);
            withhold_transfer(&mut public);
            assert_eq!(public, side(word, false));
        }
        assert_eq!(told_target(&side("new", true)), None);
        assert_eq!(told_target(&side("new", false)).as_deref(), Some("c/secret#9"));
        assert_eq!(told_target(&Value::Null), None);
    }
}
