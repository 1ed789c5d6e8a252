//! Which hooks lead here: kept in the archive, so that GitHub can be asked what was missed of each.
//!
//! A ping says which hook it is of, and so does each delivery in its headers: a hook whose ping came before its repository
//! was tracked, to another address, or under its organisation's former name is known from its next delivery on.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gharvest_archive::Archive;
use gharvest_model::RepositoryId;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{payload::Payload, receive::keep};

/// Another hook of a feed is news this often: where two hooks of one repository lead here, each is the other's news.
const LOOKED_EVERY: Duration = Duration::from_secs(30);

/// Whose hook sent a delivery, as its headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// A repository's, with its id.
    Repository(u64),
    /// An organisation's, with its id.
    Organization(u64),
}

impl Hook {
    /// What `X-GitHub-Hook-ID` and `X-GitHub-Hook-Installation-Target-Type` say; none of an App's, which has a log of its
    /// own.
    pub fn from_headers(id: &str, target: &str) -> Option<Self> {
        let id = id.parse().ok()?;
        match target {
            "repository" => Some(Self::Repository(id)),
            "organization" => Some(Self::Organization(id)),
            _ => None,
        }
    }
}

/// The hooks that are known.
#[derive(Debug)]
pub(crate) struct Hooks {
    archive: Archive,
    /// By feed: which hook it was and when that was looked at last.
    looked: Arc<Mutex<HashMap<String, (u64, Instant)>>>,
}

impl Hooks {
    pub(crate) fn of(archive: Archive) -> Self {
        Self { archive, looked: Arc::default() }
    }

    /// A ping proves that the hook works. Never a reason to fail.
    pub(crate) async fn pinged(&self, payload: &Payload, now: Timestamp) {
        let Some(feed) = feed_of_ping(payload) else { return };
        let hook = json!({ "hook_id": payload.hook_id, "at": now });
        if let Err(error) = keep(self.archive.set_cursor(&feed, hook)).await {
            tracing::warn!(error, "what is known of a hook cannot be kept");
        }
    }

    /// Notes whose hook sent a delivery, if that is news. Nobody waits for it.
    pub(crate) fn heard(&self, hook: Hook, payload: &Payload, now: Timestamp) {
        let own = payload.repository.as_ref().filter(|found| !payload.foreign.contains(&found.id));
        let Some(repository) = own else { return };
        let (feed, id) = match hook {
            Hook::Repository(id) => (hook_feed(repository.id), id),
            Hook::Organization(id) => (organization_hook_feed(repository.full_name.owner()), id),
        };
        {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.get(&feed).is_some_and(|(known, at)| *known == id || at.elapsed() < LOOKED_EVERY) {
                return;
            }
            looked.insert(feed.clone(), (id, Instant::now()));
        }
        let (archive, looked) = (self.archive.clone(), Arc::clone(&self.looked));
        tokio::spawn(async move {
            let news = |known: Option<Value>| {
                // One that is gone may be heard late.
                let is_known = known.is_some_and(|known| known["hook_id"].as_u64() == Some(id));
                (!is_known).then(|| json!({ "hook_id": id, "at": now }))
            };
            if let Err(error) = keep(archive.change_cursor(&feed, &news)).await {
                tracing::debug!(error, "which hook a delivery is of cannot be kept");
                looked.lock().unwrap_or_else(PoisonError::into_inner).remove(&feed);
            }
        });
    }

    /// `meta` says that a hook is gone, as the last word of that one: another may have taken its place already.
    pub(crate) async fn gone(&self, payload: &Payload, now: Timestamp) {
        let Some((hook, feed)) = payload.hook_id.zip(feed_of_ping(payload)) else { return };
        let remove = |known: Option<Value>| {
            let mut known = known.filter(|known| known["hook_id"].as_u64() == Some(hook))?;
            known["removed_at"] = json!(now);
            Some(known)
        };
        if let Err(error) = keep(self.archive.change_cursor(&feed, &remove)).await {
            tracing::warn!(error, "that a hook is gone cannot be kept");
        }
    }
}

/// None of an App's hook: its log is asked for with the App's own key.
fn feed_of_ping(payload: &Payload) -> Option<String> {
    let own = payload.repository.as_ref().map(|repository| hook_feed(repository.id));
    own.or_else(|| Some(organization_hook_feed(&payload.organization.as_ref()?.login)))
}

/// The archive's cursor with what is known of a repository's hook: `hook_id`, `at`, and `removed_at` once it is gone.
pub fn hook_feed(repository: RepositoryId) -> String {
    format!("hook/{repository}")
}

/// The same of an organisation's hook, whose pings name no repository.
pub fn organization_hook_feed(login: &str) -> String {
    format!("hook/organization/{}", login.to_ascii_lowercase())
}
