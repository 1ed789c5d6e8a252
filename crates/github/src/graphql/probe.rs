//! Cheap looks at many items: has anything changed since the last look?
//!
//! [`PROBED_AT_ONCE`] items cost one point when their kinds are known; [`PROBED_BLINDLY`] cost two when not. Numbers of
//! the timeline are GraphQL's own count: compare them with an earlier probe, not with the length of a timeline that came
//! by REST.

use std::{collections::BTreeMap, fmt::Write};

use gharvest_model::{Kind, RepositoryName};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Reached, text};
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
        /// How many entries its timeline has.
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

/// Items of one repository that are looked at.
struct Looking<'a> {
    client: &'a Client,
    repository: &'a RepositoryName,
    discussions: bool,
    purpose: Purpose,
    seen: BTreeMap<u64, Glimpse>,
    requests: u64,
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
        let discussions = blind && self.schema(purpose).await?.discussions;
        let most = if blind { PROBED_BLINDLY } else { PROBED_AT_ONCE };
        let seen = BTreeMap::new();
        let mut looking = Looking { client: self, repository, discussions, purpose, seen, requests: 0 };
        for batch in items.chunks(most) {
            looking.look(batch).await?;
        }
        let Looking { mut seen, requests, .. } = looking;
        let mut probe = |number| Probe { number, seen: seen.remove(&number).unwrap_or(Glimpse::Unknown) };
        Ok(Probed { probes: items.iter().map(|(number, _)| probe(*number)).collect(), requests })
    }
}

impl Looking<'_> {
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
        let variables = json!({"owner": self.repository.owner(), "name": self.repository.name()});
        let query = document(batch, self.discussions);
        let asked = self.client.ask_graphql(&query, &variables, self.purpose, true, Some(self.repository));
        let (shown, errors) = match asked.await? {
            Reached::Data { data, errors, .. } => (data.tree("repository"), errors),
            Reached::TooMuch(reason) => return Ok((batch.to_vec(), reason)),
        };
        let reason = crate::base::cut(errors.first().map_or("the repository is not there", text));
        if !shown.is_object() {
            return Err(Error::new(ErrorKind::Refused, "POST /graphql", reason));
        }
        let mut left = batch.to_vec();
        left.retain(|(number, _)| match glimpse(*number, &shown, &errors) {
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
    /// what was deleted. None are, on a server that does not know discussions. [`PROBED_AT_ONCE`] numbers cost one point.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn discussions(
        &self,
        repository: &RepositoryName,
        numbers: &[u64],
        purpose: Purpose,
    ) -> Result<Vec<u64>> {
        let mut found = Vec::new();
        if numbers.is_empty() || !self.can_graphql() || !self.schema(purpose).await?.discussions {
            return Ok(found);
        }
        let variables = json!({"owner": repository.owner(), "name": repository.name()});
        for numbers in numbers.chunks(PROBED_AT_ONCE) {
            let query = super::document::discussions(numbers);
            let reached = self.ask_graphql(&query, &variables, purpose, true, Some(repository)).await?;
            let Reached::Data { data, .. } = reached else {
                // Silence is no answer: who takes it for one hides what is a discussion.
                return Err(Error::new(ErrorKind::Unavailable, "POST /graphql", "nobody told what is a discussion"));
            };
            let shown = data.tree("repository");
            found.extend(numbers.iter().filter(|number| shown[format!("d{number}")].is_object()));
        }
        Ok(found)
    }
}

/// With `discussions`, it is also asked whether a number of unknown kind is one.
pub(crate) fn document(items: &[(u64, Option<Kind>)], discussions: bool) -> String {
    let mut document = String::from(
        "query Probe($owner:String!,$name:String!){rateLimit{cost remaining resetAt} \
         repository(owner:$owner,name:$name){id",
    );
    let issue = "updatedAt timelineItems(first:1){totalCount updatedAt}";
    let pull = "updatedAt prItems:timelineItems(first:1){totalCount updatedAt}";
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
    let alias = format!("i{number}");
    match errors.iter().find(|error| error["path"][1] == alias.as_str()) {
        Some(_) if repository[format!("d{number}")].is_object() => Some(Glimpse::Discussion),
        Some(error) => (error["type"] == "NOT_FOUND").then_some(Glimpse::NotFound),
        None => present(&repository[&alias]),
    }
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
        entries: timeline["totalCount"].as_u64()?,
        timeline_updated_at: time(&timeline["updatedAt"]),
    })
}
