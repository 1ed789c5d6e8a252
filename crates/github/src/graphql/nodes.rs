//! Nodes by id, hundreds in one request. What fails alone is missing.

use std::collections::BTreeMap;

use gharvest_model::RepositoryName;
use serde_json::{Map, Value, json, value::RawValue};

use super::{Reached, is_too_much};
use crate::{Client, Purpose, Result};

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
    /// Whom the points are counted for.
    pub(super) repository: &'a RepositoryName,
}

impl Client {
    /// Asks for nodes, and gives each as text by the id that was asked for.
    pub(super) async fn nodes(&self, by: By<'_>, ids: Vec<String>) -> Result<BTreeMap<String, Box<RawValue>>> {
        let mut nodes = BTreeMap::new();
        let mut waiting: Vec<Vec<String>> = ids.chunks(by.at_once).map(<[String]>::to_vec).collect();
        while let Some(mut ids) = waiting.pop() {
            let lists: Vec<&[String]> = ids.chunks(MOST_IDS).collect();
            let variables: Map<String, Value> =
                lists.iter().enumerate().map(|(place, list)| (format!("l{place}"), json!(list))).collect();
            let query = (by.write)(lists.len());
            match self.ask_graphql(&query, &json!(variables), by.purpose, true, Some(by.repository)).await? {
                Reached::Data { data, errors, .. } => {
                    for (place, list) in lists.iter().enumerate() {
                        // Asked ids and nodes correspond by place: an id may come back in its newer form.
                        let found = list.iter().cloned().zip(data.list(&format!("l{place}")));
                        nodes.extend(found.filter(|(_, node)| node.get().starts_with('{')));
                    }
                    let asked = ids.len();
                    ids.retain(|id| !nodes.contains_key(id));
                    // What fitted is kept, the rest asked for again while that makes it less.
                    if errors.iter().any(is_too_much) && (1..asked).contains(&ids.len()) {
                        waiting.push(ids);
                    }
                }
                Reached::TooMuch(_) if ids.len() > 1 => {
                    let half = ids.split_off(ids.len() / 2);
                    waiting.extend([ids, half]);
                }
                Reached::TooMuch(_) => {}
            }
        }
        Ok(nodes)
    }
}
