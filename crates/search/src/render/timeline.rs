//! The timeline as a list of entries: what happened, when, by whom, about what.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    extra,
    json::{self, Person},
};
use crate::document::Extra;

/// What documents say of one timeline entry, read as far as it can be. GitHub's own object, many times as large, is not
/// needed any more.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// GitHub's event name, whatever it is; `unknown` where it has none.
    pub(crate) event: String,
    pub(crate) actor: Option<Person>,
    /// When: as GitHub says, else as git says, else when the entry before happened.
    pub(crate) at: Timestamp,
    pub(crate) id: u64,
    /// The label of `labeled` and `unlabeled`.
    pub(crate) label: Option<String>,
    /// What the entry is about, where it is about something.
    pub(crate) subject: Option<String>,
    /// The title before, of `renamed`.
    pub(crate) title_before: Option<String>,
    /// The commits that it names.
    pub(crate) shas: Vec<String>,
    /// What no field of its event has.
    pub(crate) extra: Extra,
}

impl Entry {
    /// Reads an entry; `previous` is when the one before happened.
    pub(crate) fn read(value: &Value, previous: Timestamp) -> Self {
        let times = ["/created_at", "/submitted_at", "/committer/date", "/author/date", "/comments/0/created_at"];
        let event = json::name(value, "/event").unwrap_or_else(|| "unknown".into());
        let subject = subject(value, &event);
        Self {
            actor: json::person(value, "/actor").or_else(|| json::person(value, "/user")),
            at: times.iter().find_map(|pointer| json::time(value, pointer)).unwrap_or(previous),
            id: json::number(value, "/id").unwrap_or_default(),
            label: json::name(value, "/label/name"),
            title_before: json::name(value, "/rename/from"),
            shas: ["/commit_id", "/sha"].iter().filter_map(|pointer| json::name(value, pointer)).collect(),
            extra: extra::of_event(&event, value, subject.as_deref()),
            subject,
            event,
        }
    }
}

fn subject(value: &Value, event: &str) -> Option<String> {
    let first = |pointers: &[&str]| pointers.iter().find_map(|pointer| json::name(value, pointer));
    match event {
        "assigned" | "unassigned" => first(&["/assignee/login"]),
        "milestoned" | "demilestoned" => first(&["/milestone/title"]),
        "renamed" => first(&["/rename/to"]),
        "review_requested" | "review_request_removed" => {
            first(&["/requested_reviewer/login"]).or_else(|| first(&["/requested_team/slug"]))
        }
        "reviewed" => first(&["/state"]).map(|state| state.to_lowercase()),
        "review_dismissed" => first(&["/dismissed_review/state"]).map(|state| state.to_lowercase()),
        "committed" => first(&["/sha"]),
        "cross-referenced" => source_item(value),
        "locked" => first(&["/lock_reason"]),
        "closed" | "reopened" => first(&["/commit_id", "/state_reason"]),
        _ => first(&["/commit_id", "/issue_type/name", "/project_card/column_name"]),
    }
}

/// Where a cross reference comes from: `owner/name#12`.
fn source_item(value: &Value) -> Option<String> {
    let number = json::number(value, "/source/issue/number")?;
    let repository = json::name(value, "/source/issue/repository/full_name").or_else(|| {
        let url = json::name(value, "/source/issue/repository_url")?;
        let mut parts = url.rsplit('/');
        let (name, owner) = (parts.next()?, parts.next()?);
        (!owner.is_empty()).then(|| format!("{owner}/{name}"))
    })?;
    Some(format!("{repository}#{number}"))
}
