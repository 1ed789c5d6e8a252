//! The repository's events feed, fed by the same changes as webhooks.

use serde_json::{Value, json};

use crate::{change::Announcement, objects::time, state::State};

/// The feed keeps this many events.
const LONGEST: usize = 300;

impl State {
    /// Puts changes into the feeds of their repositories.
    pub(crate) fn remember(&mut self, announcements: &[Announcement], now: i64) {
        for announcement in announcements {
            let count = self.repositories.values().map(|repository| repository.feed.len()).sum::<usize>() as u64;
            let id = 40_000_000_000 + now as u64 * 10 + count;
            let Some(event) = event(announcement, id, now) else { continue };
            if let Some(repository) = self.repositories.get_mut(&announcement.repository) {
                repository.feed.insert(0, event);
                repository.feed.truncate(LONGEST);
            }
        }
    }
}

/// The feed's form of a change. `None` for those that the feed does not show.
fn event(announcement: &Announcement, id: u64, now: i64) -> Option<Value> {
    let payload = &announcement.payload;
    let action = announcement.action.as_deref().unwrap_or_default();
    let (kind, body) = match (announcement.event.as_str(), action) {
        ("issues", "opened" | "closed" | "reopened" | "labeled" | "unlabeled" | "assigned" | "unassigned") => {
            ("IssuesEvent", json!({"action": action, "issue": payload["issue"]}))
        }
        ("issue_comment", "created") => {
            ("IssueCommentEvent", json!({"action": action, "issue": payload["issue"], "comment": payload["comment"]}))
        }
        ("pull_request", "opened" | "closed" | "reopened") => {
            let pull = &payload["pull_request"];
            let branch = |side: &str| {
                let repository = &pull[side]["repo"];
                json!({
                    "ref": pull[side]["ref"],
                    "sha": pull[side]["sha"],
                    "repo": {"id": repository["id"], "url": repository["url"], "name": repository["name"]},
                })
            };
            let minimal = json!({
                "id": pull["id"],
                "number": pull["number"],
                "url": pull["url"],
                "head": branch("head"),
                "base": branch("base"),
            });
            ("PullRequestEvent", json!({"action": action, "number": pull["number"], "pull_request": minimal}))
        }
        _ => return None,
    };
    let sender = &payload["sender"];
    Some(json!({
        "id": id.to_string(),
        "type": kind,
        "actor": {
            "id": sender["id"],
            "login": sender["login"],
            "display_login": sender["login"],
            "gravatar_id": "",
            "url": sender["url"],
            "avatar_url": sender["avatar_url"],
        },
        "repo": {
            "id": announcement.repository,
            "name": payload["repository"]["full_name"],
            "url": payload["repository"]["url"],
        },
        "payload": body,
        "public": true,
        "created_at": time(now),
    }))
}
