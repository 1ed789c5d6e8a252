//! Observations of the system: a time series, a month an index.
//!
//! | name | what |
//! | --- | --- |
//! | `{prefix}-operations-2026.11` | the index of a month (UTC) |
//! | `{prefix}-operations-2026.11-write` | its alias for writing: a write never makes an index by accident |
//! | `{prefix}-operations` | all of them, for dashboards |
//!
//! There is no such name below `{prefix}-public-`: whoever may see what is public only sees none of it. A document's id
//! says what was seen when, so that writing it again replaces it. Old months go as whole indices.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use elasticsearch::http::Method;
use gharvest_search::{
    Error, ErrorKind, Result,
    operations::{Observation, OperationsLog},
};
use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use serde_json::{Value, json};

use crate::{
    body,
    bulk::{Bulk, Lines, Outcome},
    client::{Client, Options},
    generation::{Made, check},
    schema::{MAPPING, fields, keyword, merged, of},
};

/// The log on one cluster. Any number of processes may write it at once.
#[derive(Debug)]
pub struct ElasticOperations {
    client: Client,
    bulk: Bulk,
    prefix: String,
    archive: String,
    /// The month whose index this process has seen to.
    prepared: Mutex<Option<String>>,
}

impl ElasticOperations {
    /// The log of the system of this archive. The engine is not asked before something is kept.
    ///
    /// # Errors
    /// If an address or the CA's certificate cannot be used.
    pub fn open(options: &Options, archive: &str) -> Result<Arc<dyn OperationsLog>> {
        let client = Client::new(options)?;
        Ok(Arc::new(Self {
            bulk: Bulk::new(client.clone()),
            client,
            prefix: options.prefix.clone(),
            archive: archive.to_owned(),
            prepared: Mutex::default(),
        }))
    }

    fn alias(&self) -> String {
        format!("{}-operations", self.prefix)
    }

    fn index(&self, month: &str) -> String {
        format!("{}-operations-{month}", self.prefix)
    }

    fn writing(&self, month: &str) -> String {
        format!("{}-operations-{month}-write", self.prefix)
    }

    async fn write(&self, month: &str, observations: &[&Observation]) -> Result<()> {
        let alias = self.writing(month);
        let is_prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).as_deref() == Some(month);
        if !is_prepared {
            self.prepare(month).await?;
        }
        let mut outcomes = self.bulk.write(lines(&alias, observations)).await?;
        if outcomes.contains(&Outcome::Missing) {
            // Somebody has removed the index since.
            self.prepare(month).await?;
            outcomes = self.bulk.write(lines(&alias, observations)).await?;
        }
        for outcome in outcomes {
            let message = match outcome {
                Outcome::Created | Outcome::Done | Outcome::Stale => continue,
                Outcome::Refused { id, reason } => format!("the engine refuses the observation {id}: {reason}"),
                Outcome::Missing => format!("the engine refuses observations of {month}: their index is missing"),
            };
            return Err(Error::new(ErrorKind::Refused, "operations", message));
        }
        Ok(())
    }

    /// Makes the month's index, or gives one of an earlier version the fields of this one.
    async fn prepare(&self, month: &str) -> Result<()> {
        let path = format!("/{}/_mapping", self.writing(month));
        match self.client.find("operations", Method::Get, &path, None).await? {
            Some(answer) => {
                check(&Made::read(&answer), &self.archive)?;
                let fields = json!({"properties": properties()});
                self.client.json("operations", Method::Put, &path, Some(&fields)).await?;
            }
            None => self.create(month).await?,
        }
        *self.prepared.lock().unwrap_or_else(PoisonError::into_inner) = Some(month.to_owned());
        Ok(())
    }

    /// Makes an index; one that exists was made by another process at this moment.
    async fn create(&self, month: &str) -> Result<()> {
        let body = json!({
            "settings": {"index": {"number_of_shards": 1, "auto_expand_replicas": "0-1", "refresh_interval": "5s"}},
            "mappings": {
                "dynamic": "strict",
                "_meta": {"gharvest": {"archive": self.archive, "mapping": MAPPING}},
                "properties": properties(),
            },
            "aliases": {self.alias(): {}, self.writing(month): {}},
        });
        let path = format!("/{}", self.index(month));
        match self.client.json("operations", Method::Put, &path, Some(&body)).await {
            Err(error) if error.to_string().contains("resource_already_exists") => Ok(()),
            made => made.map(drop),
        }
    }
}

#[async_trait]
impl OperationsLog for ElasticOperations {
    async fn keep(&self, observations: &[Observation]) -> Result<()> {
        let mut months: BTreeMap<String, Vec<&Observation>> = BTreeMap::new();
        for observation in observations {
            months.entry(month_of(observation.at)).or_default().push(observation);
        }
        for (month, observations) in months {
            self.write(&month, &observations).await?;
        }
        Ok(())
    }

    async fn forget(&self, oldest: Timestamp) -> Result<Vec<String>> {
        let found = self.client.find("operations", Method::Get, &format!("/_alias/{}", self.alias()), None).await?;
        let indices = found.as_ref().and_then(Value::as_object).into_iter().flatten();
        let beginning = self.index("");
        let months = indices.filter_map(|(index, _)| index.strip_prefix(&beginning));
        let mut forgotten = Vec::new();
        for month in months.filter(|month| end_of(month).is_some_and(|end| end <= oldest)) {
            self.client.find("operations", Method::Delete, &format!("/{}", self.index(month)), None).await?;
            forgotten.push(month.to_owned());
        }
        Ok(forgotten)
    }
}

fn lines(alias: &str, observations: &[&Observation]) -> Lines {
    let mut lines = Lines::default();
    for observation in observations {
        let id = observation.key();
        let mut document = serde_json::to_value(observation).expect("an observation is plain data");
        document["key"] = id.as_str().into();
        // Engines want versions that do not sink; the moment of one observation is always the same.
        let version = u64::try_from(observation.at.as_second()).unwrap_or_default();
        lines.index(alias, &id, version, |into| body::plain(into, &document));
    }
    lines
}

fn month_of(at: Timestamp) -> String {
    at.strftime("%Y.%m").to_string()
}

/// When a month written as `2026.11` is over; none for what is no month.
fn end_of(month: &str) -> Option<Timestamp> {
    let (year, month) = month.split_once('.')?;
    let first = Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok()?;
    Some(first.checked_add(1.month()).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

fn properties() -> Value {
    merged(&[
        fields(&["key", "about", "queue", "lane", "repository", "token", "resource", "trouble"], &keyword()),
        fields(&["ready", "delayed", "leased", "buried", "lag_seconds", "finished", "retried"], &of("long")),
        fields(&["repository_id", "unaccounted", "failed", "missed_deliveries", "recovered_deliveries"], &of("long")),
        fields(&["limit", "remaining", "used"], &of("long")),
        json!({"at": of("date"), "private": of("boolean"), "completeness": of("float")}),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_over_with_its_last_instant_in_utc() {
        assert_eq!(month_of("2026-12-31T23:59:59Z".parse().unwrap()), "2026.12");
        assert_eq!(end_of("2026.12"), Some("2027-01-01T00:00:00Z".parse().unwrap()));
        assert_eq!(end_of("2026.02"), Some("2026-03-01T00:00:00Z".parse().unwrap()));
        for other in ["", "2026", "2026.13", "2026.11-write", "v2-0"] {
            assert_eq!(end_of(other), None, "{other}");
        }
    }
}
