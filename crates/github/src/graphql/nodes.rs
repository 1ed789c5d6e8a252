//! Nodes by id, hundreds in one request.
//!
//! A request that brings nothing makes the next one half as large, and what it asked for goes behind what else waits:
//! so one node that GitHub cannot tell is found by itself while the others come. Many failures in a row are an outage.
//!
//! Their repository is asked for beside them: null is no answer from a token that is not shown even that, so another one
//! is asked, and where there is none the call fails.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gharvest_model::RepositoryName;
use serde_json::{Map, Value, json, value::RawValue};

use super::{Data, MOST_FAILURES, Reached, hides_repository, is_too_much};
use crate::{Client, Error, ErrorKind, Purpose, Result};

/// What `nodes(ids:)` takes.
const MOST_IDS: usize = 100;
/// So many nodes in one request, a list for each hundred: still a point.
pub(super) const MOST_NODES: usize = 12 * MOST_IDS;

/// How nodes are asked for.
pub(super) struct By<'a> {
    /// Writes the document of so many lists `$l0`, `$l1` … of up to a hundred ids.
    pub(super) write: fn(usize) -> String,
    /// How many nodes one request holds at first, at most [`MOST_NODES`].
    pub(super) at_once: usize,
    pub(super) purpose: Purpose,
    /// Whose nodes they are, and whom the points are counted for.
    pub(super) repository: &'a RepositoryName,
}

/// What came of nodes, by the ids that were asked for. What is in neither is not there.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    pub(super) found: BTreeMap<String, Box<RawValue>>,
    /// Those about which GitHub said nothing, even alone, or that it does not let the token see.
    pub(super) failed: BTreeSet<String>,
}

impl Client {
    /// Asks for nodes, and gives each as text.
    ///
    /// # Errors
    /// As [`Client::get`]: an outage is one, whatever it looks like.
    pub(super) async fn nodes(&self, by: By<'_>, ids: Vec<String>) -> Result<Nodes> {
        let mut nodes = Nodes::default();
        let mut waiting = VecDeque::from(ids);
        let (mut size, mut failures) = (by.at_once, 0);
        while !waiting.is_empty() {
            let asked: Vec<String> = waiting.drain(..size.min(waiting.len())).collect();
            let (count, answer) = (asked.len(), self.ask_nodes(&by, &asked).await);
            let unanswered = match answer {
                Ok(Reached::Data { data, errors, .. }) => take(asked, &data, &errors, &mut nodes),
                Ok(Reached::TooMuch(reason)) => Unanswered { ids: asked, reason },
                // So are texts that are too large together: fewer may fit.
                Err(error) if *error.kind() == ErrorKind::BadAnswer => {
                    Unanswered { ids: asked, reason: error.to_string() }
                }
                Err(error) => return Err(error),
            };
            if unanswered.ids.len() < count {
                failures = 0;
                waiting.extend(unanswered.ids);
                continue;
            }
            failures += 1;
            metrics::counter!("gharvest_github_batches_halved_total").increment(1);
            if failures > MOST_FAILURES {
                return Err(Error::new(ErrorKind::Unavailable, "POST /graphql", &unanswered.reason));
            }
            if count == 1 {
                nodes.failed.extend(unanswered.ids);
            } else {
                waiting.extend(unanswered.ids);
            }
            size = (count / 2).max(1);
            tokio::time::sleep(self.inner.backoff(failures)).await;
        }
        Ok(nodes)
    }

    async fn ask_nodes(&self, by: &By<'_>, ids: &[String]) -> Result<Reached> {
        let lists = ids.chunks(MOST_IDS);
        let query = (by.write)(lists.len());
        let mut variables: Map<String, Value> =
            lists.enumerate().map(|(place, list)| (list_name(place), json!(list))).collect();
        variables.insert("owner".to_owned(), json!(by.repository.owner()));
        variables.insert("name".to_owned(), json!(by.repository.name()));
        let reached = self.ask_graphql(&query, &json!(variables), by.purpose, true, Some(by.repository)).await?;
        match &reached {
            Reached::Data { data, errors, .. } if data.is_null("repository") && errors.iter().any(hides_repository) => {
                let message = format!("no token is shown {}", by.repository);
                Err(Error::new(ErrorKind::Refused, "POST /graphql", message))
            }
            _ => Ok(reached),
        }
    }
}

/// What an answer does not tell, and why.
struct Unanswered {
    ids: Vec<String>,
    reason: String,
}

/// Takes the nodes of an answer. What is null is not there, unless GitHub says that it gave up on something, or that the
/// token may not see it.
fn take(mut ids: Vec<String>, data: &Data, errors: &[Value], nodes: &mut Nodes) -> Unanswered {
    let limits: Vec<&Value> = errors.iter().filter(|error| is_too_much(error)).collect();
    let refused: Vec<&Value> = errors.iter().filter(|error| error["type"] == "FORBIDDEN").collect();
    let tells_absence = limits.is_empty() && !data.is_null("repository");
    let mut absent = BTreeSet::new();
    for (place, list) in ids.chunks(MOST_IDS).enumerate() {
        let name = list_name(place);
        // Asked ids and nodes correspond by place: an id may come back in its newer form.
        for (place, (id, node)) in list.iter().zip(data.list(&name)).enumerate() {
            let is_own = |error: &&Value| error["path"][0] == *name && error["path"][1] == place;
            if node.get().starts_with('{') && !limits.iter().any(is_own) {
                nodes.found.insert(id.clone(), node);
            } else if refused.iter().any(is_own) {
                nodes.failed.insert(id.clone());
            } else if tells_absence {
                absent.insert(id.clone());
            }
        }
    }
    ids.retain(|id| !nodes.found.contains_key(id) && !nodes.failed.contains(id) && !absent.contains(id));
    let reason = limits.first().map_or("answered without the nodes", |error| super::text(error));
    Unanswered { ids, reason: crate::base::cut(reason) }
}

fn list_name(place: usize) -> String {
    format!("l{place}")
}
