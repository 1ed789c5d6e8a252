//! The timeline as a list of entries: what happened, when, by whom, about what.

use jiff::Timestamp;
use serde_json::Value;

use super::json::{self, Person};

/// One timeline entry, read as far as it can be.
#[derive(Debug, Clone)]
pub(crate) struct Entry<'a> {
    pub(crate) value: &'a Value,
    /// GitHub's event name, whatever it is; `unknown` where it has none.
    pub(crate) event: String,
    pub(crate) actor: Option<Person>,
    /// When: as GitHub says, else as git says, else when the entry before happened.
    pub(crate) at: Timestamp,
    pub(crate) id: u64,
}

impl Entry<'_> {
    /// The label of `labeled` and `unlabeled`.
    pub(crate) fn label(&self) -> Option<String> {
        json::name(self.value, "/label/name")
    }

    /// What the entry is about, where it is about something.
    pub(crate) fn subject(&self) -> Option<String> {
        let value = self.value;
        let first = |pointers: &[&str]| pointers.iter().find_map(|pointer| json::name(value, pointer));
        match self.event.as_str() {
            "assigned" | "unassigned" => first(&["/assignee/login"]),
            "milestoned" | "demilestoned" => first(&["/milestone/title"]),
            "renamed" => first(&["/rename/to"]),
            "review_requested" | "review_request_removed" => requested_reviewer(value),
            "reviewed" => first(&["/state"]).map(|state| state.to_lowercase()),
            "review_dismissed" => first(&["/dismissed_review/state"]).map(|state| state.to_lowercase()),
            "committed" => first(&["/sha"]),
            "cross-referenced" => source_item(value),
            "locked" => first(&["/lock_reason"]),
            "closed" | "reopened" => first(&["/commit_id", "/state_reason"]),
            _ => first(&["/commit_id", "/issue_type/name", "/project_card/column_name"]),
        }
    }
}

fn requested_reviewer(value: &Value) -> Option<String> {
    json::name(value, "/requested_reviewer/login").or_else(|| json::name(value, "/requested_team/slug"))
}

/// Where a cross reference comes from: `owner/name#12`.
pub(crate) fn source_item(value: &Value) -> Option<String> {
    let number = json::number(value, "/source/issue/number")?;
    let repository = json::name(value, "/source/issue/repository/full_name").or_else(|| {
        let url = json::name(value, "/source/issue/repository_url")?;
        let mut parts = url.rsplit('/');
        let (name, owner) = (parts.next()?, parts.next()?);
        (!owner.is_empty()).then(|| format!("{owner}/{name}"))
    })?;
    Some(format!("{repository}#{number}"))
}

/// Reads a timeline, in its own order.
pub(crate) fn entries(timeline: &[Value], created_at: Timestamp) -> Vec<Entry<'_>> {
    let mut previous = created_at;
    timeline
        .iter()
        .map(|value| {
            let times = ["/created_at", "/submitted_at", "/committer/date", "/author/date", "/comments/0/created_at"];
            let at = times.iter().find_map(|pointer| json::time(value, pointer)).unwrap_or(previous);
            previous = at;
            Entry {
                value,
                event: json::name(value, "/event").unwrap_or_else(|| "unknown".into()),
                actor: json::person(value, "/actor").or_else(|| json::person(value, "/user")),
                at,
                id: json::number(value, "/id").unwrap_or_default(),
            }
        })
        .collect()
}
