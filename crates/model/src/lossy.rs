//! What a thread fetched by GraphQL lacks, compared with one fetched by REST: a reviewed list.
//!
//! The table of facts it follows from: GitHub's GraphQL schema and REST description. Tests compare both ways on every
//! kind of event; a difference that is not listed fails them, and so does an entry that never occurs.

/// A field that differs between a thread fetched by GraphQL and one fetched by REST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lossy {
    /// Where: `issue.…`, `timeline.EVENT.…`, `pull.…`; `*` stands for every event.
    pub path: &'static str,
    /// What GraphQL gives instead, and why.
    pub reason: &'static str,
}

const fn lossy(path: &'static str, reason: &'static str) -> Lossy {
    Lossy { path, reason }
}

/// All that GraphQL cannot give. Paths of `issue` count only where the issue object came by GraphQL.
pub const LOSSY: &[Lossy] = &[
    lossy("issue.id", "null for a pull request without an event that tells it: GraphQL has no such field"),
    lossy("issue.body", "null and the empty text are one to GraphQL: always a text"),
    lossy("issue.performed_via_github_app", "null: GraphQL has no such field"),
    lossy("issue.milestone.open_issues", "null: would cost two requests an item"),
    lossy("issue.milestone.closed_issues", "null: would cost two requests an item"),
    lossy("issue.type.created_at", "absent: GraphQL has no such field"),
    lossy("issue.type.updated_at", "absent: GraphQL has no such field"),
    lossy("issue.type.id", "null where the node id is not read"),
    lossy("issue.closed_by", "the actor of the last closing; null for deleted accounts"),
    lossy("issue.pinned_comment", "absent"),
    lossy("issue.issue_field_values", "absent"),
    lossy("issue.sub_issues_summary", "absent on servers whose schema lacks it"),
    lossy("issue.issue_dependencies_summary", "absent on servers whose schema lacks it"),
    lossy("user.user_view_type", "always `public`; REST shows the own account of who asks as `private`"),
    lossy("user.avatar_url", "without the part of its query that changes by itself"),
    lossy("timeline.*.performed_via_github_app", "null: GraphQL has no such field"),
    lossy("timeline.(rest only)", "absent: not in GraphQL's unions, as Copilot's events"),
    lossy(
        "timeline.line-commented",
        "absent where the node id has the new form: it does not tell such threads from others",
    ),
    lossy("timeline.commented.pin", "null: newer than the supported schema"),
    lossy("timeline.committed.verification.reason", "GraphQL has more words, as for certificates that were revoked"),
    lossy("timeline.cross-referenced.updated_at", "the time of creation: GraphQL has no such field"),
    lossy("timeline.cross-referenced.source.issue", "a live copy of another item: what names it and shows its state"),
    lossy("timeline.labeled.label", "the label as it is now; REST keeps the name and color of then"),
    lossy("timeline.unlabeled.label", "the label as it is now; REST keeps the name and color of then"),
    lossy("timeline.removed_from_project.project_card", "without the card: GraphQL has no such field"),
    lossy("timeline.referenced.commit_id", "null where the commit cannot be reached any more"),
    lossy("timeline.referenced.commit_url", "null where the commit cannot be reached any more"),
    lossy("timeline.head_ref_force_pushed.commit_id", "null where the commit cannot be reached any more"),
    lossy("timeline.head_ref_force_pushed.commit_url", "null where the commit cannot be reached any more"),
    lossy("timeline.review_requested.requested_team", "fewer fields"),
    lossy("timeline.review_request_removed.requested_team", "fewer fields"),
    lossy("timeline.reviewed.commit_id", "null where the commit cannot be reached any more"),
    lossy("timeline.*.sub_issue.repository", "fewer fields"),
    lossy("timeline.*.parent_issue.repository", "fewer fields"),
    lossy("timeline.*.blocked_by.repository", "fewer fields"),
    lossy("timeline.*.blocking.repository", "fewer fields"),
    lossy("timeline.*.issue_type.id", "null where the node id is not read"),
    lossy("timeline.*.prev_issue_type.id", "null where the node id is not read"),
    lossy("pull.head.user", "the author where the fork is gone: GraphQL does not tell whose it was"),
    lossy("pull.head.label", "with the author's name where the fork is gone"),
    lossy("pull.head.repo", "fewer fields"),
    lossy("pull.base.repo", "fewer fields"),
    lossy("pull.mergeable", "null: GitHub computes it when asked, and it changes by itself"),
    lossy("pull.rebaseable", "null: as `mergeable`"),
    lossy("pull.mergeable_state", "`unknown`: as `mergeable`"),
    lossy("pull.merge_commit_sha", "null for some: a test merge that changes by itself"),
    lossy("pull.review_comments", "null unless there are none: GraphQL counts threads, not comments"),
    lossy("pull.requested_teams", "fewer fields"),
];

/// REST's names of the events that GraphQL has types for. What has none is missing in a timeline without a trace.
pub const TOLD: &[&str] = &[
    "added_to_merge_queue",
    "added_to_project",
    "added_to_project_v2",
    "assigned",
    "auto_merge_disabled",
    "auto_merge_enabled",
    "auto_rebase_enabled",
    "auto_squash_enabled",
    "automatic_base_change_failed",
    "automatic_base_change_succeeded",
    "base_ref_changed",
    "base_ref_deleted",
    "base_ref_force_pushed",
    "blocked_by_added",
    "blocked_by_removed",
    "blocking_added",
    "blocking_removed",
    "closed",
    "comment_deleted",
    "commented",
    "commit-commented",
    "committed",
    "connected",
    "convert_to_draft",
    "converted_from_draft",
    "converted_note_to_issue",
    "converted_to_discussion",
    "cross-referenced",
    "demilestoned",
    "deployed",
    "deployment_environment_changed",
    "disconnected",
    "head_ref_deleted",
    "head_ref_force_pushed",
    "head_ref_restored",
    "issue_comment_pinned",
    "issue_comment_unpinned",
    "issue_field_added",
    "issue_field_changed",
    "issue_field_removed",
    "issue_type_added",
    "issue_type_changed",
    "issue_type_removed",
    "labeled",
    "line-commented",
    "locked",
    "marked_as_duplicate",
    "mentioned",
    "merged",
    "milestoned",
    "moved_columns_in_project",
    "parent_issue_added",
    "parent_issue_removed",
    "pinned",
    "project_v2_item_status_changed",
    "ready_for_review",
    "referenced",
    "removed_from_merge_queue",
    "removed_from_project",
    "removed_from_project_v2",
    "renamed",
    "reopened",
    "review_dismissed",
    "review_request_removed",
    "review_requested",
    "reviewed",
    "sub_issue_added",
    "sub_issue_removed",
    "subscribed",
    "transferred",
    "unassigned",
    "unlabeled",
    "unlocked",
    "unmarked_as_duplicate",
    "unpinned",
    "unsubscribed",
    "user_blocked",
];

/// Whether GraphQL has a type for this event of REST's timeline.
pub fn is_told(event: &str) -> bool {
    TOLD.binary_search(&event).is_ok()
}

/// Whether the field at this path is one that GraphQL cannot give: `timeline`, the event, and the keys below it, or
/// `issue` or `pull` and the keys below.
pub fn is_lossy(path: &[&str]) -> bool {
    LOSSY.iter().any(|lossy| lossy.is_at(path))
}

impl Lossy {
    /// Whether it is about the field at this path.
    pub fn is_at(&self, path: &[&str]) -> bool {
        let pattern: Vec<&str> = self.path.split('.').collect();
        // Fields of an account are the same wherever it stands.
        if pattern[0] == "user" {
            return path.last() == pattern.last();
        }
        // What a pull request's object shares with its issue object is lost with it.
        let is_shared = pattern[0] == "issue" && path.first() == Some(&"pull");
        let start = usize::from(is_shared);
        path.len() >= pattern.len()
            && pattern.iter().zip(path).skip(start).all(|(one, other)| *one == "*" || one == other)
    }
}
