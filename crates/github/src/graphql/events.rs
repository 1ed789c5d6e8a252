//! Every type of `timelineItems`: REST's name of it, and what to select of it.
//!
//! One table, so that the document, the mapping and the list of what is lost cannot disagree.

use serde_json::Value;

/// One member of the unions `IssueTimelineItems` and `PullRequestTimelineItems`.
#[derive(Debug)]
pub(crate) struct EventType {
    /// GraphQL's type.
    pub(crate) graphql: &'static str,
    /// REST's `event`; empty for what REST does not show.
    pub(crate) rest: &'static str,
    /// Only pull requests have it.
    pub(crate) pulls_only: bool,
    /// Newer than the oldest schema that is supported: selected only where introspection shows it.
    pub(crate) newer: bool,
    /// What is selected beside `id`, and beside `createdAt actor{...U}` for events.
    pub(crate) fields: &'static str,
}

const fn both(graphql: &'static str, rest: &'static str, fields: &'static str) -> EventType {
    EventType { graphql, rest, pulls_only: false, newer: false, fields }
}

const fn pull(graphql: &'static str, rest: &'static str, fields: &'static str) -> EventType {
    EventType { graphql, rest, pulls_only: true, newer: false, fields }
}

const fn newer(graphql: &'static str, rest: &'static str, fields: &'static str) -> EventType {
    EventType { graphql, rest, pulls_only: false, newer: true, fields }
}

/// A card of a classic project. These fields may go: selected only where introspection shows them.
pub(crate) const CARD: &str = "projectColumnName project{databaseId} projectCard{databaseId}";
/// The same of a card that moved.
pub(crate) const MOVED_CARD: &str =
    "previousProjectColumnName projectColumnName project{databaseId} projectCard{databaseId}";

/// All types known, in the order of the alphabet. Others are no error: their thread goes by REST.
pub(crate) const EVENT_TYPES: &[EventType] = &[
    pull("AddedToMergeQueueEvent", "added_to_merge_queue", ""),
    both("AddedToProjectEvent", "added_to_project", CARD),
    newer("AddedToProjectV2Event", "added_to_project_v2", ""),
    both("AssignedEvent", "assigned", "assignee{...U}"),
    pull("AutoMergeDisabledEvent", "auto_merge_disabled", ""),
    pull("AutoMergeEnabledEvent", "auto_merge_enabled", ""),
    pull("AutoRebaseEnabledEvent", "auto_rebase_enabled", ""),
    pull("AutoSquashEnabledEvent", "auto_squash_enabled", ""),
    pull("AutomaticBaseChangeFailedEvent", "automatic_base_change_failed", ""),
    pull("AutomaticBaseChangeSucceededEvent", "automatic_base_change_succeeded", ""),
    pull("BaseRefChangedEvent", "base_ref_changed", ""),
    pull("BaseRefDeletedEvent", "base_ref_deleted", ""),
    pull("BaseRefForcePushedEvent", "base_ref_force_pushed", "afterCommit{...Cm}"),
    newer("BlockedByAddedEvent", "blocked_by_added", "blockingIssue{...Rel}"),
    newer("BlockedByRemovedEvent", "blocked_by_removed", "blockingIssue{...Rel}"),
    newer("BlockingAddedEvent", "blocking_added", "blockedIssue{...Rel}"),
    newer("BlockingRemovedEvent", "blocking_removed", "blockedIssue{...Rel}"),
    both("ClosedEvent", "closed", "stateReason closer{__typename ... on Commit{...Cm}}"),
    both("CommentDeletedEvent", "comment_deleted", ""),
    both("ConnectedEvent", "connected", ""),
    pull("ConvertToDraftEvent", "convert_to_draft", ""),
    newer("ConvertedFromDraftEvent", "converted_from_draft", ""),
    both("ConvertedNoteToIssueEvent", "converted_note_to_issue", CARD),
    both("ConvertedToDiscussionEvent", "converted_to_discussion", ""),
    both(
        "CrossReferencedEvent",
        "cross-referenced",
        "referencedAt source{__typename ... on Issue{...Src} ... on PullRequest{...PrSrc}}",
    ),
    both("DemilestonedEvent", "demilestoned", "milestoneTitle"),
    pull("DeployedEvent", "deployed", ""),
    pull("DeploymentEnvironmentChangedEvent", "deployment_environment_changed", ""),
    both("DisconnectedEvent", "disconnected", ""),
    pull("HeadRefDeletedEvent", "head_ref_deleted", ""),
    pull("HeadRefForcePushedEvent", "head_ref_force_pushed", "afterCommit{...Cm}"),
    pull("HeadRefRestoredEvent", "head_ref_restored", ""),
    both(
        "IssueComment",
        "commented",
        "fullDatabaseId url body createdAt updatedAt authorAssociation isMinimized minimizedReason author{...U} ...Rx",
    ),
    newer("IssueCommentPinnedEvent", "issue_comment_pinned", ""),
    newer("IssueCommentUnpinnedEvent", "issue_comment_unpinned", ""),
    newer("IssueFieldAddedEvent", "issue_field_added", ""),
    newer("IssueFieldChangedEvent", "issue_field_changed", ""),
    newer("IssueFieldRemovedEvent", "issue_field_removed", ""),
    newer("IssueTypeAddedEvent", "issue_type_added", "issueType{id name color}"),
    newer("IssueTypeChangedEvent", "issue_type_changed", "issueType{id name color} prevIssueType{id name color}"),
    newer("IssueTypeRemovedEvent", "issue_type_removed", "issueType{id name color}"),
    both("LabeledEvent", "labeled", "label{name color}"),
    both("LockedEvent", "locked", "lockReason"),
    both("MarkedAsDuplicateEvent", "marked_as_duplicate", ""),
    both("MentionedEvent", "mentioned", ""),
    pull("MergedEvent", "merged", "commit{...Cm}"),
    both("MilestonedEvent", "milestoned", "milestoneTitle"),
    both("MovedColumnsInProjectEvent", "moved_columns_in_project", MOVED_CARD),
    both("ParentIssueAddedEvent", "parent_issue_added", "parent{...Rel}"),
    both("ParentIssueRemovedEvent", "parent_issue_removed", "parent{...Rel}"),
    both("PinnedEvent", "pinned", ""),
    newer("ProjectV2ItemStatusChangedEvent", "project_v2_item_status_changed", ""),
    pull(
        "PullRequestCommit",
        "committed",
        "prCommit:commit{id oid url message tree{oid} author{name email date} committer{name email date} \
         signature{isValid state payload signature verifiedAt}}",
    ),
    pull("PullRequestCommitCommentThread", "commit-commented", ""),
    pull(
        "PullRequestReview",
        "reviewed",
        "fullDatabaseId body url state submittedAt updatedAt authorAssociation author{...U} commit{oid}",
    ),
    pull("PullRequestReviewThread", "line-commented", ""),
    pull("PullRequestRevisionMarker", "", ""),
    pull("ReadyForReviewEvent", "ready_for_review", ""),
    both("ReferencedEvent", "referenced", "commit{...Cm} commitRepository{nameWithOwner}"),
    pull("RemovedFromMergeQueueEvent", "removed_from_merge_queue", ""),
    both("RemovedFromProjectEvent", "removed_from_project", ""),
    newer("RemovedFromProjectV2Event", "removed_from_project_v2", ""),
    both("RenamedTitleEvent", "renamed", "previousTitle currentTitle"),
    both("ReopenedEvent", "reopened", "stateReason"),
    pull(
        "ReviewDismissedEvent",
        "review_dismissed",
        "previousReviewState dismissalMessage review{fullDatabaseId} pullRequestCommit{prCommit:commit{oid}}",
    ),
    pull("ReviewRequestRemovedEvent", "review_request_removed", "requestedReviewer{...Rev}"),
    pull("ReviewRequestedEvent", "review_requested", "requestedReviewer{...Rev}"),
    both("SubIssueAddedEvent", "sub_issue_added", "subIssue{...Rel}"),
    both("SubIssueRemovedEvent", "sub_issue_removed", "subIssue{...Rel}"),
    both("SubscribedEvent", "subscribed", ""),
    both("TransferredEvent", "transferred", ""),
    both("UnassignedEvent", "unassigned", "assignee{...U}"),
    both("UnlabeledEvent", "unlabeled", "label{name color}"),
    both("UnlockedEvent", "unlocked", ""),
    both("UnmarkedAsDuplicateEvent", "unmarked_as_duplicate", ""),
    both("UnpinnedEvent", "unpinned", ""),
    both("UnsubscribedEvent", "unsubscribed", ""),
    both("UserBlockedEvent", "user_blocked", ""),
];

impl EventType {
    pub(crate) fn of(typename: &str) -> Option<&'static Self> {
        EVENT_TYPES.binary_search_by(|event| event.graphql.cmp(typename)).ok().map(|index| &EVENT_TYPES[index])
    }

    /// Whether it has `createdAt` and `actor`.
    pub(crate) fn is_event(&self) -> bool {
        self.graphql.ends_with("Event")
    }

    /// Whether GraphQL gives too little of it, so that a thread with one goes by REST.
    pub(crate) fn needs_rest(&self, entry: &Value) -> bool {
        if self.is_of_card() {
            return !entry["projectCard"]["databaseId"].is_u64() || !entry["project"]["databaseId"].is_u64();
        }
        // Comments below a comment would cost a request an entry.
        self.rest == "commit-commented"
    }

    /// Whether it is about a card of a classic project that is told.
    pub(crate) fn is_of_card(&self) -> bool {
        self.fields == CARD || self.fields == MOVED_CARD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_ordered_so_that_every_type_is_found() {
        for event in EVENT_TYPES {
            assert_eq!(EventType::of(event.graphql).map(|found| found.graphql), Some(event.graphql));
        }
        assert_eq!(EVENT_TYPES.len(), 78, "GitHub's 78 members of PullRequestTimelineItems");
        let told: std::collections::BTreeSet<&str> = EVENT_TYPES.iter().map(|kind| kind.rest).collect();
        assert!(told.into_iter().filter(|name| !name.is_empty()).eq(gharvest_model::lossy::TOLD.iter().copied()));
    }
}
