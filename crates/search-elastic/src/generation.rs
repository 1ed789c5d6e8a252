//! Indices come and go: made, built anew beside the old ones, swapped.
//!
//! The state stands in the cluster alone, in aliases, so that any number of processes agree: while `…-next` leads to an
//! index, a rebuild is under way, and whoever writes writes there as well, under the names of that build.

use elasticsearch::http::Method;
use gharvest_search::{Error, ErrorKind, IndexStatus, Result, Trouble, given_up};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    client::Client,
    engine::Engine,
    schema::{self, MAPPING, Names, Sort},
};

#[derive(Debug, Clone)]
pub(crate) struct Generations {
    pub(crate) client: Client,
    pub(crate) names: Names,
}

/// Which archive an index is made of, and with which mapping.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Made {
    archive: String,
    mapping: u64,
}

impl Made {
    /// As an answer to `_mapping` says it.
    pub(crate) fn read(answer: &Value) -> Self {
        let first = answer.as_object().and_then(|indices| indices.values().next());
        let meta = first.and_then(|index| index.pointer("/mappings/_meta/gharvest"));
        let text = |name: &str| meta.and_then(|meta| meta.get(name));
        Self {
            archive: text("archive").and_then(Value::as_str).unwrap_or_default().to_owned(),
            mapping: text("mapping").and_then(Value::as_u64).unwrap_or_default(),
        }
    }
}

impl Generations {
    /// Makes what is missing; refuses another archive's index, and one of a newer mapping.
    pub(crate) async fn ensure(&self, archive: &str) -> Result<()> {
        for sort in Sort::ALL {
            match self.made(sort).await? {
                Some(made) => {
                    check(&made, archive)?;
                    if made.mapping < MAPPING {
                        self.add_fields(sort).await?;
                    }
                    self.show_in_public(sort).await?;
                }
                None => {
                    self.create(
                        sort,
                        archive,
                        0,
                        json!({
                            self.names.visible(sort): {"filter": schema::visible_filter()},
                            self.names.public(sort): {"filter": schema::public_filter()},
                            self.names.all(sort): {},
                        }),
                    )
                    .await?
                }
            }
        }
        Ok(())
    }

    /// An index of an earlier version takes documents of this one; those it has want a rebuild to be like them.
    async fn add_fields(&self, sort: Sort) -> Result<()> {
        let fields = json!({"properties": sort.properties()});
        let path = format!("/{}/_mapping", self.names.all(sort));
        self.client.json("ensure", Method::Put, &path, Some(&fields)).await.map(drop)
    }

    /// An index of an earlier version has no alias for everybody yet.
    async fn show_in_public(&self, sort: Sort) -> Result<()> {
        let alias = self.names.public(sort);
        if !self.indices(&alias).await?.is_empty() {
            return Ok(());
        }
        let add = |index: &String| json!({"add": {"index": index, "alias": alias, "filter": schema::public_filter()}});
        let indices = self.indices(&self.names.all(sort)).await?;
        let actions = json!({"actions": indices.iter().map(add).collect::<Vec<_>>()});
        self.client.json("ensure", Method::Post, "/_aliases", Some(&actions)).await.map(drop)
    }

    /// Makes an index; one that exists was made by another process at this moment.
    async fn create(&self, sort: Sort, archive: &str, build: i64, aliases: Value) -> Result<()> {
        let aliases = aliases.as_object().cloned().unwrap_or_default();
        let body = schema::index(sort, archive, aliases);
        let path = format!("/{}", self.names.concrete(sort, build));
        let answer =
            self.client.ask("ensure", Method::Put, &path, Some(crate::client::json_body(&body)), TIMEOUT).await?;
        if answer.reason().contains("resource_already_exists") {
            return Ok(());
        }
        answer.success("ensure").map(drop)
    }

    /// What the serving index of a sort says of itself.
    async fn made(&self, sort: Sort) -> Result<Option<Made>> {
        let path = format!("/{}/_mapping", self.names.all(sort));
        let answer = self.client.find("ensure", Method::Get, &path, None).await?;
        Ok(answer.as_ref().map(Made::read))
    }

    /// The indices that have an alias.
    async fn indices(&self, alias: &str) -> Result<Vec<String>> {
        let found = self.client.find("rebuild", Method::Get, &format!("/_alias/{alias}"), None).await?;
        Ok(found
            .as_ref()
            .and_then(Value::as_object)
            .map(|indices| indices.keys().cloned().collect())
            .unwrap_or_default())
    }

    /// What is being built: writes go there as well. Rebuilds that begin at the same moment may be several.
    pub(crate) async fn builds(&self) -> Result<Vec<i64>> {
        let next = self.indices(&self.names.next(Sort::Items)).await?;
        Ok(next.iter().filter_map(|index| Names::build_of(index)).collect())
    }

    /// Gives up what is being built, and begins another build.
    pub(crate) async fn begin_rebuild(&self, archive: &str) -> Result<i64> {
        if let Some(made) = self.made(Sort::Items).await? {
            check(&made, archive)?;
        }
        // Items first: without their alias nobody writes to the others.
        for sort in Sort::ALL {
            for index in self.indices(&self.names.next(sort)).await? {
                self.remove(&index).await?;
            }
        }
        let build = Timestamp::now().as_millisecond();
        let names = self.names.of_build(build);
        // Items last: their alias says that all of them are there.
        for sort in Sort::ALL.into_iter().rev() {
            let aliases = json!({
                names.next(sort): {},
                names.all(sort): {},
                names.visible(sort): {"filter": schema::visible_filter()},
            });
            self.create(sort, archive, build, aliases).await?;
        }
        Ok(build)
    }

    /// Swaps all sorts in one atomic step, in which the old ones go, if there are any. Another rebuild that begins at this
    /// moment fails the step: an index of this build is missing then.
    pub(crate) async fn finish_rebuild(&self, build: i64) -> Result<()> {
        if !self.builds().await?.contains(&build) {
            return Err(given_up("rebuild"));
        }
        let mut actions = Vec::new();
        for sort in Sort::ALL {
            let next = self.names.concrete(sort, build);
            for old in self.indices(&self.names.all(sort)).await? {
                actions.push(json!({"remove_index": {"index": old}}));
            }
            actions.push(json!({"remove": {"index": next, "alias": self.names.next(sort)}}));
            actions.push(json!({"add": {"index": next, "alias": self.names.all(sort)}}));
            let filter = schema::visible_filter();
            actions.push(json!({"add": {"index": next, "alias": self.names.visible(sort), "filter": filter}}));
            let filter = schema::public_filter();
            actions.push(json!({"add": {"index": next, "alias": self.names.public(sort), "filter": filter}}));
        }
        refresh(&self.client, &[self.names.of_build(build)]).await?;
        self.client.json("rebuild", Method::Post, "/_aliases", Some(&json!({"actions": actions}))).await?;
        Ok(())
    }

    /// Removes the indices of a build, unless they serve.
    pub(crate) async fn abort_rebuild(&self, build: i64) -> Result<()> {
        for sort in Sort::ALL {
            let own = self.names.concrete(sort, build);
            if self.indices(&self.names.next(sort)).await?.contains(&own) {
                self.remove(&own).await?;
            }
        }
        Ok(())
    }

    async fn remove(&self, index: &str) -> Result<()> {
        self.client.find("rebuild", Method::Delete, &format!("/{index}"), None).await.map(drop)
    }

    pub(crate) async fn status(&self, engine: &Engine) -> Result<IndexStatus> {
        let made = self.made(Sort::Items).await?;
        let made = made.unwrap_or(Made { archive: String::new(), mapping: 0 });
        let trouble = self.trouble().await?;
        let mut documents = Vec::new();
        for sort in Sort::ALL {
            let path = format!("/{}/_count", self.names.visible(sort));
            let count = self.client.find("status", Method::Get, &path, None).await;
            // What is missing cannot be counted, which the trouble says better than this error.
            let count = if trouble.is_some() { count.unwrap_or_default() } else { count? };
            let count = count.and_then(|count| count.get("count").and_then(Value::as_u64)).unwrap_or_default();
            documents.push((format!("gharvest-{}", sort.name()), count));
        }
        let path = format!("/{}/_stats/store?filter_path=_all.total.store.size_in_bytes", self.names.own());
        let bytes = self.client.find("status", Method::Get, &path, None).await?;
        Ok(IndexStatus {
            outdated: made.mapping < MAPPING && !made.archive.is_empty(),
            engine: engine.to_string(),
            archive: made.archive,
            mapping: u32::try_from(made.mapping).unwrap_or(u32::MAX),
            documents,
            bytes: bytes.and_then(|stats| stats.pointer("/_all/total/store/size_in_bytes").and_then(Value::as_u64)),
            rebuilding: !self.builds().await?.is_empty(),
            trouble,
        })
    }

    /// Missing shards, and indices that the engine has closed for writing because its disk is nearly full. A lack of
    /// replicas is none: one node has no place for them.
    async fn trouble(&self) -> Result<Option<Trouble>> {
        let own = self.names.own();
        let health = self.client.json("status", Method::Get, &format!("/_cluster/health/{own}"), None).await?;
        if health.get("status").and_then(Value::as_str) == Some("red") {
            return Ok(Some(Trouble {
                found: "some of the engine's shards are missing".to_owned(),
                remedy:
                    "ask it why: GET /_cluster/allocation/explain; what cannot come back is made anew: gharvest rebuild"
                        .to_owned(),
            }));
        }
        let path = format!("/{own}/_settings/index.blocks.*?flat_settings=true");
        let blocks = self.client.json("status", Method::Get, &path, None).await?;
        let closed: Vec<_> = blocks.as_object().into_iter().flatten().filter(|(_, index)| is_closed(index)).collect();
        Ok(closed.first().map(|(index, _)| Trouble {
            found: format!("{} of the engine's indices take no writes, as {index}", closed.len()),
            remedy: "make room on its disk: it closes indices when that is nearly full, and opens them by itself"
                .to_owned(),
        }))
    }
}

/// Makes what was written searchable. It is durable already: engines answer a bulk after their log is on disk.
pub(crate) async fn refresh(client: &Client, written: &[Names]) -> Result<()> {
    let aliases: Vec<_> = written.iter().flat_map(|names| Sort::ALL.map(|sort| names.all(sort))).collect();
    let path = format!("/{}/_refresh?ignore_unavailable=true", aliases.join(","));
    client.json("commit", Method::Post, &path, None).await.map(drop)
}

/// Whether an index has a block against writing, as its flat settings say.
fn is_closed(index: &Value) -> bool {
    let blocks = index.get("settings").and_then(Value::as_object).into_iter().flatten();
    let writing = ["index.blocks.read_only_allow_delete", "index.blocks.read_only", "index.blocks.write"];
    blocks.into_iter().any(|(name, value)| writing.contains(&name.as_str()) && value == "true")
}

const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// Refuses another archive's index, and one of a newer mapping.
pub(crate) fn check(made: &Made, archive: &str) -> Result<()> {
    let refused = |message: String| Err(Error::new(ErrorKind::Refused, "ensure", message));
    if made.archive != archive {
        return refused(format!(
            "this index belongs to the archive {:?}, not to {archive:?}; set another [search] index_prefix, or delete the index",
            made.archive
        ));
    }
    if made.mapping > MAPPING {
        return refused(format!(
            "this index has the mapping {}, newer than {MAPPING} of this program; update the program",
            made.mapping
        ));
    }
    Ok(())
}
