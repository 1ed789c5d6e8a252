//! Computed metrics of an item. Their definitions stand in `_docs/available-data.md`.

use jiff::Timestamp;

use crate::{
    document::{CommentDocument, Metrics, WaitingOn},
    intervals::Span,
    render::{json::Person, timeline::Entry},
};

/// What the metrics are computed from.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) author: Option<&'a Person>,
    pub(crate) created_at: Timestamp,
    pub(crate) closed_at: Option<Timestamp>,
    pub(crate) merged_at: Option<Timestamp>,
    pub(crate) is_open: bool,
    pub(crate) entries: &'a [Entry],
    pub(crate) comments: &'a [CommentDocument],
    pub(crate) spans: &'a [Span],
}

impl Facts<'_> {
    pub(crate) fn metrics(&self) -> Metrics {
        let responses = || self.comments.iter().filter(|comment| self.is_other_human(comment));
        let since_creation = |at: Option<Timestamp>| at.map(|at| hours(self.created_at, at));
        Metrics {
            h_first_response: since_creation(responses().map(|comment| comment.created_at).min()),
            h_first_maintainer_response: since_creation(
                responses().filter(|comment| is_maintainer(comment)).map(|comment| comment.created_at).min(),
            ),
            h_to_triage: since_creation(self.triaged_at()),
            h_to_close: since_creation(self.first_closed_at()),
            h_to_merge: since_creation(self.merged_at),
            h_to_first_review: since_creation(
                responses().filter(|comment| comment.part == "review").map(|comment| comment.created_at).min(),
            ),
            h_open_total: self.open_total(),
            waiting_on: self.is_open.then(|| self.waiting_on()),
        }
    }

    fn is_author(&self, login: Option<&str>) -> bool {
        login.is_some() && login == self.author.map(|author| author.login.as_str())
    }

    fn is_other_human(&self, comment: &CommentDocument) -> bool {
        !comment.author_is_bot && !self.is_author(comment.author.as_deref())
    }

    fn triaged_at(&self) -> Option<Timestamp> {
        let triage = self.entries.iter().filter(|entry| {
            let other = entry.actor.as_ref().is_some_and(|actor| !actor.is_bot && !self.is_author(Some(&actor.login)));
            other && matches!(entry.event.as_str(), "labeled" | "assigned" | "milestoned")
        });
        triage.map(|entry| entry.at).min()
    }

    fn first_closed_at(&self) -> Option<Timestamp> {
        let ends = self.spans.iter().filter(|span| span.dimension == "state" && span.value != "open");
        ends.map(|span| span.from).min().or(self.closed_at)
    }

    fn open_total(&self) -> Option<f32> {
        let open = self.spans.iter().filter(|span| span.dimension == "state" && span.value == "open");
        open.filter_map(|span| span.to.map(|to| hours(span.from, to))).reduce(|sum, hours| sum + hours)
    }

    fn waiting_on(&self) -> WaitingOn {
        let last = self.comments.iter().rfind(|comment| !comment.author_is_bot);
        match last {
            Some(comment) if is_maintainer(comment) && !self.is_author(comment.author.as_deref()) => WaitingOn::Author,
            _ => WaitingOn::Maintainers,
        }
    }
}

/// Written by an owner, member or collaborator.
fn is_maintainer(comment: &CommentDocument) -> bool {
    matches!(comment.author_association.as_deref(), Some("OWNER" | "MEMBER" | "COLLABORATOR"))
}

/// Hours between two times, never negative: an item that moved here can be younger than what was said on it.
pub(crate) fn hours(from: Timestamp, to: Timestamp) -> f32 {
    (to.duration_since(from).as_secs_f32() / 3600.0).max(0.0)
}
