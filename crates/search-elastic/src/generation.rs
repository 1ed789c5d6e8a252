//! Indices come and go: made, built anew beside the old ones, swapped.
//!
//! The state stands in the cluster alone, in aliases, so that any number of processes agree: while `…-next` leads to an
//! index, a rebuild is under way, and whoever writes writes there as well, under the names of that build. Likewise what is
//! public is written by everybody while there are indices of it; the setting says whether they are made.

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
    /// Whether there shall be indices of what is public.
    pub(crate) has_public: bool,
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
    ///
    /// What is public gets its indices with the others, never later: they would be empty. A rebuild makes them where there
    /// are none.
    pub(crate) async fn ensure(&self, archive: &str) -> Result<()> {
        let public = self.names.of_public();
        for sort in Sort::ALL {
            let made = self.made(&self.names, sort).await?;
            for made in made.iter().chain(&self.made(&public, sort).await?) {
                check(made, archive)?;
            }
            self.drop_filtered(&public, sort).await?;
            if !self.has_public {
                for index in self.indices(&public.all(sort)).await? {
                    self.remove(&index).await?;
                }
            }
            match made {
                Some(made) if made.mapping < MAPPING => self.add_fields(sort).await?,
                Some(_) => {}
                None => {
                    // Last those that say that both are there.
                    for names in self.made_here().iter().rev() {
                        let aliases =
                            json!({names.visible(sort): {"filter": schema::visible_filter()}, names.all(sort): {}});
                        self.create(names, sort, archive, 0, aliases).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The names that are made together.
    fn made_here(&self) -> Vec<Names> {
        let public = self.has_public.then(|| self.names.of_public());
        std::iter::once(self.names.clone()).chain(public).collect()
    }

    /// Earlier versions gave the index of everything a filtered alias for what is public.
    async fn drop_filtered(&self, public: &Names, sort: Sort) -> Result<()> {
        let alias = public.visible(sort);
        let indices = self.indices(&alias).await?;
        let filtered = indices.iter().filter(|index| !public.is_of(sort, index));
        let actions: Vec<_> = filtered.map(|index| json!({"remove": {"index": index, "alias": alias}})).collect();
        if actions.is_empty() {
            return Ok(());
        }
        self.client.json("ensure", Method::Post, "/_aliases", Some(&json!({"actions": actions}))).await.map(drop)
    }

    /// An index of an earlier version takes documents of this one; those it has want a rebuild to be like them.
    async fn add_fields(&self, sort: Sort) -> Result<()> {
        let fields = json!({"properties": sort.properties()});
        for names in [&self.names, &self.names.of_public()] {
            let path = format!("/{}/_mapping", names.all(sort));
            // There need be none of what is public.
            self.client.find("ensure", Method::Put, &path, Some(&fields)).await?;
        }
        Ok(())
    }

    /// Makes an index; one that exists was made by another process at this moment.
    async fn create(&self, names: &Names, sort: Sort, archive: &str, build: i64, aliases: Value) -> Result<()> {
        let aliases = aliases.as_object().cloned().unwrap_or_default();
        let body = schema::index(sort, archive, aliases);
        let path = format!("/{}", names.concrete(sort, build));
        let answer =
            self.client.ask("ensure", Method::Put, &path, Some(crate::client::json_body(&body)), TIMEOUT).await?;
        if answer.reason().contains("resource_already_exists") {
            return Ok(());
        }
        answer.success("ensure").map(drop)
    }

    /// What the serving index of a sort says of itself.
    async fn made(&self, names: &Names, sort: Sort) -> Result<Option<Made>> {
        let path = format!("/{}/_mapping", names.all(sort));
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

    /// What is written beside the index that serves: what is public of it, and what is being built. Rebuilds that begin at
    /// the same moment may be several.
    pub(crate) async fn beside(&self) -> Result<Vec<Names>> {
        // By a pattern: a name that leads nowhere is no error then.
        let path = format!("/_alias/{}-{}-*", self.names.prefix, Sort::Items.name());
        let found = self.client.find("write", Method::Get, &path, None).await?;
        let public = self.names.of_public();
        let mut beside = Vec::new();
        for (index, described) in found.as_ref().and_then(Value::as_object).into_iter().flatten() {
            let has = |alias: &str| described.pointer("/aliases").is_some_and(|aliases| aliases.get(alias).is_some());
            if has(&public.all(Sort::Items)) {
                beside.push(public.clone());
            }
            for names in [&self.names, &public] {
                let build = Names::build_of(index).filter(|_| has(&names.next(Sort::Items)));
                beside.extend(build.map(|build| names.of_build(build)));
            }
        }
        Ok(beside)
    }

    /// Whether an index of everything is being built, or this one.
    async fn is_building(&self, this: Option<i64>) -> Result<bool> {
        let next = self.indices(&self.names.next(Sort::Items)).await?;
        let mut builds = next.iter().filter_map(|index| Names::build_of(index));
        Ok(builds.any(|build| this.is_none_or(|this| this == build)))
    }

    /// Gives up what is being built, and begins another build.
    pub(crate) async fn begin_rebuild(&self, archive: &str) -> Result<i64> {
        if let Some(made) = self.made(&self.names, Sort::Items).await? {
            check(&made, archive)?;
        }
        // Items first: without their alias nobody writes to the others.
        for names in [&self.names, &self.names.of_public()] {
            for sort in Sort::ALL {
                for index in self.indices(&names.next(sort)).await? {
                    self.remove(&index).await?;
                }
            }
        }
        let build = Timestamp::now().as_millisecond();
        // Items last: their alias says that all of them are there. Before those of everything what is public of them.
        for names in self.made_here().iter().rev() {
            let built = names.of_build(build);
            for sort in Sort::ALL.into_iter().rev() {
                let aliases = json!({
                    names.next(sort): {},
                    built.all(sort): {},
                    built.visible(sort): {"filter": schema::visible_filter()},
                });
                self.create(names, sort, archive, build, aliases).await?;
            }
        }
        Ok(build)
    }

    /// Swaps all sorts in one atomic step, in which the old ones go, if there are any. Another rebuild that begins at this
    /// moment fails the step: an index of this build is missing then.
    pub(crate) async fn finish_rebuild(&self, build: i64) -> Result<()> {
        if !self.is_building(Some(build)).await? {
            return Err(given_up("rebuild"));
        }
        let mut actions = Vec::new();
        let made = self.made_here();
        for (names, sort) in made.iter().flat_map(|names| Sort::ALL.map(|sort| (names, sort))) {
            let next = names.concrete(sort, build);
            for old in self.indices(&names.all(sort)).await? {
                actions.push(json!({"remove_index": {"index": old}}));
            }
            actions.push(json!({"remove": {"index": next, "alias": names.next(sort)}}));
            actions.push(json!({"add": {"index": next, "alias": names.all(sort)}}));
            let filter = schema::visible_filter();
            actions.push(json!({"add": {"index": next, "alias": names.visible(sort), "filter": filter}}));
        }
        let built: Vec<_> = made.iter().map(|names| names.of_build(build)).collect();
        refresh(&self.client, &built).await?;
        self.client.json("rebuild", Method::Post, "/_aliases", Some(&json!({"actions": actions}))).await?;
        Ok(())
    }

    /// Removes the indices of a build, unless they serve.
    pub(crate) async fn abort_rebuild(&self, build: i64) -> Result<()> {
        for names in &self.made_here() {
            for sort in Sort::ALL {
                let own = names.concrete(sort, build);
                if self.indices(&names.next(sort)).await?.contains(&own) {
                    self.remove(&own).await?;
                }
            }
        }
        Ok(())
    }

    async fn remove(&self, index: &str) -> Result<()> {
        self.client.find("rebuild", Method::Delete, &format!("/{index}"), None).await.map(drop)
    }

    pub(crate) async fn status(&self, engine: &Engine) -> Result<IndexStatus> {
        let made = self.made(&self.names, Sort::Items).await?;
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
            rebuilding: self.is_building(None).await?,
            trouble,
        })
    }

    /// Missing shards, indices that the engine has closed for writing because its disk is nearly full, and none of what is
    /// public where they are wanted. A lack of replicas is none: one node has no place for them.
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
        if let Some((index, _)) = closed.first() {
            return Ok(Some(Trouble {
                found: format!("{} of the engine's indices take no writes, as {index}", closed.len()),
                remedy: "make room on its disk: it closes indices when that is nearly full, and opens them by itself"
                    .to_owned(),
            }));
        }
        let lacks_public = self.has_public && self.made(&self.names.of_public(), Sort::Items).await?.is_none();
        Ok(lacks_public.then(|| Trouble {
            found: "there are no indices of what is public yet, which [search] public_indices asks for".to_owned(),
            remedy: "have them made from the archive: gharvest rebuild".to_owned(),
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
