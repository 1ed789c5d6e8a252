//! Cheap looks at many items: has anything changed since the last look?
//!
//! [`PROBED_AT_ONCE`] items cost one point when their kinds are known; [`PROBED_BLINDLY`] cost two when not.
//!
//! What is counted of a timeline is what REST lists of it and GraphQL knows ([`gharvest_model::lossy::is_always_told`]). A pull
//! request's also has threads of review comments and a marker, which `itemTypes` leaves out; of a connection with that
//! argument `totalCount` counts all the same, and only `filteredCount` what it lets through (measured by several users of
//! the API; GitHub's documentation does not say).

use std::{collections::BTreeMap, fmt::Write};

use gharvest_model::{Kind, RepositoryName};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Reached, document::Schema, text};
use crate::{Client, Error, ErrorKind, Purpose, Result};

/// Items of known kinds in one request: a connection each, and a hundredth of them, rounded, is one point.
pub const PROBED_AT_ONCE: usize = 149;
/// Items in one request where some kinds are not known: two connections each, and two points.
pub const PROBED_BLINDLY: usize = 124;

/// So many requests for one batch that bring nothing end it: GitHub has an outage, or what is left is too much.
const MOST_FAILED: usize = 16;

/// What a call of [`Client::probe`] brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// How the items looked, in the order of asking.
    pub probes: Vec<Probe>,
    /// How many requests it took: one for each batch, more where GitHub told only a part.
    pub requests: u64,
}

/// How one item looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Its number.
    pub number: u64,
    /// What GitHub shows of it.
    pub seen: Glimpse,
}

/// What GitHub shows of an item at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Glimpse {
    /// It is there.
    Present {
        /// What it is.
        kind: Kind,
        /// Its `updated_at`, which hides much: references, reactions, deleted comments.
        updated_at: Timestamp,
        /// How many entries REST lists in its timeline, of those that GraphQL knows.
        entries: u64,
        /// When its timeline last changed.
        timeline_updated_at: Option<Timestamp>,
    },
    /// Deleted, transferred, hidden, or never an item: REST tells them apart.
    NotFound,
    /// A discussion, which has its number in the same sequence.
    Discussion,
    /// GitHub did not tell, also when it was asked for alone: only a download shows it.
    Unknown,
}

/// Numbers of one repository that are looked at.
struct Looking<'a> {
    client: &'a Client,
    repository: &'a RepositoryName,
    question: Question<'a>,
    purpose: Purpose,
    seen: BTreeMap<u64, Glimpse>,
    requests: u64,
}

/// What is asked of a number.
#[derive(Debug, Clone, Copy)]
enum Question<'a> {
    /// How it looks, to a server that knows this.
    Look(&'a Schema),
    /// Whether it is a discussion.
    IsDiscussion,
}

impl Client {
    /// Looks at many items of one repository: numbers, and their kinds where known. Where an answer leaves some out they
    /// are asked for again, in smaller batches while that brings nothing.
    ///
    /// # Errors
    /// As [`Client::get`]; and [`ErrorKind::Unavailable`] when many requests for a batch told nothing at all.
    pub async fn probe(
        &self,
        repository: &RepositoryName,
        items: &[(u64, Option<Kind>)],
        purpose: Purpose,
    ) -> Result<Probed> {
        let blind = items.iter().any(|(_, kind)| kind.is_none());
        let most = if blind { PROBED_BLINDLY } else { PROBED_AT_ONCE };
        let schema = self.schema(purpose).await?;
        let mut looking = Looking::new(self, repository, Question::Look(schema), purpose);
        for batch in items.chunks(most) {
            looking.look(batch).await?;
        }
        let Looking { mut seen, requests, .. } = looking;
        let mut probe = |number| Probe { number, seen: seen.remove(&number).unwrap_or(Glimpse::Unknown) };
        Ok(Probed { probes: items.iter().map(|(number, _)| probe(*number)).collect(), requests })
    }
}

impl<'a> Looking<'a> {
    fn new(client: &'a Client, repository: &'a RepositoryName, question: Question<'a>, purpose: Purpose) -> Self {
        Self { client, repository, question, purpose, seen: BTreeMap::new(), requests: 0 }
    }

    /// Looks at a batch: what is left out is asked for again, in halves if that is all of it.
    async fn look(&mut self, batch: &[(u64, Option<Kind>)]) -> Result<()> {
        let (before, mut failed) = (self.seen.len(), 0);
        let mut waiting = vec![batch.to_vec()];
        while let Some(batch) = waiting.pop() {
            let (mut left, reason) = self.ask(&batch).await?;
            let is_nothing = left.len() == batch.len();
            failed += usize::from(is_nothing);
            if failed > MOST_FAILED && self.seen.len() > before {
                break;
            }
            if failed > MOST_FAILED {
                return Err(Error::new(ErrorKind::Unavailable, "POST /graphql", reason));
            }
            match left.len() {
                0 => {}
                // Nor is it told alone.
                1 if is_nothing => {}
                many if is_nothing => {
                    let second = left.split_off(many / 2);
                    waiting.extend([second, left]);
                }
                _ => waiting.push(left),
            }
        }
        Ok(())
    }

    /// Asks for items in one request; gives back those of which nothing was told, and why.
    async fn ask(&mut self, batch: &[(u64, Option<Kind>)]) -> Result<(Vec<(u64, Option<Kind>)>, String)> {
        self.requests += 1;
        let mut variables = json!({"owner": self.repository.owner(), "name": self.repository.name()});
        let query = match self.question {
            Question::Look(schema) => {
                // With a server that does not tell what it takes, everything counts.
                if !schema.entry_types.is_empty() {
                    variables["types"] = json!(schema.entry_types);
                }
                document(batch, schema.discussions)
            }
            Question::IsDiscussion => super::document::discussions(batch.iter().map(|(number, _)| *number)),
        };
        let asked = self.client.ask_graphql(&query, &variables, self.purpose, true, Some(self.repository));
        let (shown, errors) = match asked.await? {
            Reached::Data { data, errors, .. } => (data.tree("repository"), errors),
            Reached::TooMuch(reason) => return Ok((batch.to_vec(), reason)),
        };
        let reason = crate::base::cut(errors.first().map_or("the repository is not there", text));
        if !shown.is_object() {
            let is_hidden = errors.iter().any(super::hides_repository);
            let kind = if is_hidden { ErrorKind::Refused } else { ErrorKind::Unavailable };
            return Err(Error::new(kind, "POST /graphql", reason));
        }
        let tell = match self.question {
            Question::Look(_) => glimpse,
            Question::IsDiscussion if errors.iter().any(hides_discussion) => {
                return Err(Error::new(ErrorKind::Forbidden, "POST /graphql", reason));
            }
            Question::IsDiscussion => discussion,
        };
        let mut left = batch.to_vec();
        left.retain(|(number, _)| match tell(*number, &shown, &errors) {
            Some(seen) => {
                self.seen.insert(*number, seen);
                false
            }
            None => true,
        });
        Ok((left, reason))
    }
}

/// How many items a repository has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemCounts {
    /// Issues of every state.
    pub issues: u64,
    /// Pull requests of every state.
    pub pulls: u64,
    /// Discussions, which share the numbers; none on a server that does not know them.
    pub discussions: u64,
    /// The highest number of an issue or a pull request.
    pub highest: u64,
}

impl ItemCounts {
    /// Issues and pull requests.
    pub fn items(&self) -> u64 {
        self.issues + self.pulls
    }

    /// Numbers up to the highest that show neither an item nor a discussion: deleted, transferred, hidden.
    pub fn gone(&self) -> u64 {
        self.highest.saturating_sub(self.items() + self.discussions)
    }
}

impl Client {
    /// How many items a repository has: a call and a point, and the same once for what the server knows. REST's lists do
    /// not say how long they are. None where GraphQL does not tell: without a token, or with one that does not see both.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn count_items(&self, repository: &RepositoryName, purpose: Purpose) -> Result<Option<ItemCounts>> {
        if !self.can_graphql() {
            return Ok(None);
        }
        let query = super::document::counts(self.schema(purpose).await?.discussions);
        let variables = json!({"owner": repository.owner(), "name": repository.name()});
        let reached = self.ask_graphql(&query, &variables, purpose, true, Some(repository)).await?;
        let Reached::Data { data, .. } = reached else { return Ok(None) };
        let repository = data.tree("repository");
        let count = |field: &str| repository[field]["totalCount"].as_u64();
        let newest = |field: &str| repository[field]["nodes"][0]["number"].as_u64();
        Ok(count("issues").zip(count("pullRequests")).map(|(issues, pulls)| ItemCounts {
            issues,
            pulls,
            discussions: count("discussions").unwrap_or(0),
            highest: newest("issues").max(newest("pullRequests")).unwrap_or(0),
        }))
    }
}

impl Client {
    /// Which of these numbers are discussions: they share the sequence with items, and REST does not tell them from
    /// what was deleted. None are, on a server that does not know discussions. A number of which GitHub does not tell,
    /// also when it is asked for alone, is missing. [`PROBED_AT_ONCE`] numbers cost one point.
    ///
    /// # Errors
    /// As [`Client::get`]; [`ErrorKind::Forbidden`] when the token may not see discussions, [`ErrorKind::Unavailable`]
    /// when GitHub tells of none of the numbers: who takes silence for an answer hides what is a discussion.
    pub async fn discussions(
        &self,
        repository: &RepositoryName,
        numbers: &[u64],
        purpose: Purpose,
    ) -> Result<BTreeMap<u64, bool>> {
        if numbers.is_empty() || !self.can_graphql() {
            return Ok(BTreeMap::new());
        }
        if !self.schema(purpose).await?.discussions {
            return Ok(numbers.iter().map(|number| (*number, false)).collect());
        }
        let asked: Vec<(u64, Option<Kind>)> = numbers.iter().map(|number| (*number, None)).collect();
        let mut looking = Looking::new(self, repository, Question::IsDiscussion, purpose);
        for batch in asked.chunks(PROBED_AT_ONCE) {
            looking.look(batch).await?;
        }
        if looking.seen.is_empty() {
            return Err(Error::new(ErrorKind::Unavailable, "POST /graphql", "nobody told what is a discussion"));
        }
        Ok(looking.seen.into_iter().map(|(number, seen)| (number, seen == Glimpse::Discussion)).collect())
    }
}

/// With `discussions`, it is also asked whether a number of unknown kind is one.
pub(crate) fn document(items: &[(u64, Option<Kind>)], discussions: bool) -> String {
    let is_issue = |(_, kind): &(u64, Option<Kind>)| *kind == Some(Kind::Issue);
    // A variable that is not used is an error.
    let variable = if items.iter().all(is_issue) { "" } else { ",$types:[PullRequestTimelineItemsItemType!]" };
    let mut document = format!(
        "query Probe($owner:String!,$name:String!{variable}){{rateLimit{{cost remaining resetAt}} \
         repository(owner:$owner,name:$name){{id"
    );
    let issue = "updatedAt timelineItems(first:1){filteredCount updatedAt}";
    let pull = "updatedAt prItems:timelineItems(first:1,itemTypes:$types){filteredCount updatedAt}";
    for (number, kind) in items {
        let (field, fields) = match kind {
            Some(Kind::Issue) => ("issue", issue.to_owned()),
            Some(Kind::PullRequest) => ("pullRequest", pull.to_owned()),
            None => ("issueOrPullRequest", format!("... on Issue{{{issue}}} ... on PullRequest{{{pull}}}")),
        };
        write!(document, " i{number}:{field}(number:{number}){{__typename {fields}}}")
            .expect("a string takes everything");
        if kind.is_none() && discussions {
            write!(document, " d{number}:discussion(number:{number}){{__typename}}")
                .expect("a string takes everything");
        }
    }
    document.push_str("}}");
    document
}

/// What an answer tells of a number; none if nothing.
fn glimpse(number: u64, repository: &Value, errors: &[Value]) -> Option<Glimpse> {
    let [item, other] = ["i", "d"].map(|letter| format!("{letter}{number}"));
    match refusal(&item, errors) {
        None => present(&repository[&item]),
        Some(_) if repository[&other].is_object() => Some(Glimpse::Discussion),
        // It may be a discussion that is only not told now.
        Some("NOT_FOUND") if repository.get(&other).is_none() => Some(Glimpse::NotFound),
        Some("NOT_FOUND") => {
            matches!(refusal(&other, errors), Some("NOT_FOUND" | "FORBIDDEN")).then_some(Glimpse::NotFound)
        }
        Some(_) => None,
    }
}

/// What an answer tells of a number that was asked for as a discussion only; none if nothing.
fn discussion(number: u64, repository: &Value, errors: &[Value]) -> Option<Glimpse> {
    let alias = format!("d{number}");
    match refusal(&alias, errors) {
        Some("NOT_FOUND") => Some(Glimpse::NotFound),
        _ => repository[&alias].is_object().then_some(Glimpse::Discussion),
    }
}

/// The type of the error about what was asked for under a name; empty if it has none.
fn refusal<'e>(alias: &str, errors: &'e [Value]) -> Option<&'e str> {
    let own = errors.iter().find(|error| error["path"][1] == alias)?;
    Some(own["type"].as_str().unwrap_or_default())
}

/// Whether an error says that the token may not see discussions.
fn hides_discussion(error: &Value) -> bool {
    error["type"] == "FORBIDDEN" && error["path"][1].as_str().is_some_and(|alias| alias.starts_with('d'))
}

fn present(node: &Value) -> Option<Glimpse> {
    let time = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
    let (kind, timeline) = match node["__typename"].as_str()? {
        "Issue" => (Kind::Issue, &node["timelineItems"]),
        "PullRequest" => (Kind::PullRequest, &node["prItems"]),
        _ => return None,
    };
    Some(Glimpse::Present {
        kind,
        updated_at: time(&node["updatedAt"])?,
        entries: timeline["filteredCount"].as_u64()?,
        timeline_updated_at: time(&timeline["updatedAt"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_told_only_by_what_is_there_or_by_what_is_said_not_to_be() {
        let error = |alias: &str, kind: &str| json!({"path": ["repository", alias], "type": kind});
        let absent = |alias| error(alias, "NOT_FOUND");
        let there = json!({"__typename": "Discussion"});
        let (null, none) = (json!({"i5": null, "d5": null}), Some(Glimpse::NotFound));
        for (shown, errors, told) in [
            (json!({"i5": null, "d5": there}), vec![absent("i5")], Some(Glimpse::Discussion)),
            (null.clone(), vec![absent("i5"), absent("d5")], none.clone()),
            (null.clone(), vec![absent("i5"), error("d5", "RESOURCE_LIMITS_EXCEEDED")], None),
            (null.clone(), vec![absent("i5")], None),
            (null.clone(), vec![error("i5", "RESOURCE_LIMITS_EXCEEDED"), absent("d5")], None),
            // Nobody will ever tell this token.
            (null.clone(), vec![absent("i5"), error("d5", "FORBIDDEN")], none.clone()),
            (json!({"i5": null}), vec![absent("i5")], none.clone()),
            (null.clone(), vec![absent("i6"), absent("d6")], None),
        ] {
            assert_eq!(glimpse(5, &shown, &errors), told, "{shown} {errors:?}");
        }
        for (shown, errors, told) in [
            (json!({"d5": there}), vec![], Some(Glimpse::Discussion)),
            (json!({"d5": null}), vec![absent("d5")], none),
            (json!({"d5": null}), vec![error("d5", "RESOURCE_LIMITS_EXCEEDED")], None),
            (json!({"d5": null}), vec![], None),
        ] {
            assert_eq!(discussion(5, &shown, &errors), told, "{shown} {errors:?}");
        }
    }
}
