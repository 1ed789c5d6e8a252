//! Writes the GraphQL documents.
//!
//! Prices, by GitHub's formula (a hundredth of the requests that the connections need): a thread whose issue object is
//! known costs one request, also of a pull request whose review comments are known; unknown ones count as both kinds. What
//! stands below the entries of a timeline would cost a hundred requests a thread, so commits' parents and counts of
//! reactions are asked for by id afterwards, and only of what has some: reactions show it by their `createdAt`, requests
//! for reviews by their event.

use std::{collections::BTreeSet, fmt::Write};

use serde_json::Value;

use super::{
    MOST_EDITS, Wanted,
    events::{EVENT_TYPES, EventType},
};

/// What the server's schema has beyond the oldest that is supported.
#[derive(Debug, Clone, Default)]
pub(crate) struct Schema {
    types: BTreeSet<String>,
    fields: BTreeSet<String>,
    /// Whether it tells of discussions, which share the numbers.
    pub(super) discussions: bool,
    /// Whether it tells of cards of classic projects.
    cards: bool,
    /// What `itemTypes` of a pull request's timeline takes, but for what REST does not list; empty if it is not told.
    pub(super) entry_types: Vec<String>,
}

/// Of a pull request's timeline, what REST lists elsewhere or not at all: threads of review comments, and how far who asks
/// has read.
const UNLISTED: [&str; 2] = ["PULL_REQUEST_REVIEW_THREAD", "PULL_REQUEST_REVISION_MARKER"];

/// Asks for what [`Schema`] needs to know. A fragment on an unknown type fails the whole document, so it is asked first.
pub(crate) const INTROSPECTION: &str = "query Schema{\
    timeline:__type(name:\"PullRequestTimelineItems\"){possibleTypes{name}} \
    entries:__type(name:\"PullRequestTimelineItemsItemType\"){enumValues(includeDeprecated:true){name}} \
    issue:__type(name:\"Issue\"){fields{name}} \
    repository:__type(name:\"Repository\"){fields{name}} \
    card:__type(name:\"MovedColumnsInProjectEvent\"){fields(includeDeprecated:true){name}} \
    rateLimit{cost remaining resetAt}}";

impl Schema {
    /// From the answer to [`INTROSPECTION`].
    pub(crate) fn of(data: &Value) -> Self {
        let names = |list: &Value| -> BTreeSet<String> {
            let entries = list.as_array().into_iter().flatten();
            entries.filter_map(|entry| entry["name"].as_str().map(str::to_owned)).collect()
        };
        let cards = names(&data["card"]["fields"]).contains("projectCard");
        let discussions = names(&data["repository"]["fields"]).contains("discussion");
        let mut entry_types = names(&data["entries"]["enumValues"]);
        entry_types.retain(|name| !UNLISTED.contains(&name.as_str()));
        Self {
            types: names(&data["timeline"]["possibleTypes"]),
            fields: names(&data["issue"]["fields"]),
            discussions,
            cards,
            entry_types: entry_types.into_iter().collect(),
        }
    }

    fn has(&self, event: &EventType) -> bool {
        !event.newer || self.types.contains(event.graphql)
    }
}

const BUDGET: &str = "rateLimit{cost remaining resetAt}";
const REPOSITORY: &str = "id databaseId name nameWithOwner url isPrivate isFork owner{...U}";

/// The document of a batch of threads; each under the alias `i{number}`.
pub(crate) fn threads(wanted: &[Wanted], schema: &Schema) -> String {
    let mut operation = format!(
        "query Threads($owner:String!,$name:String!){{{BUDGET} repository(owner:$owner,name:$name){{{REPOSITORY}"
    );
    for wanted in wanted {
        let number = wanted.number;
        let field = match wanted.is_pull() {
            Some(true) if wanted.knows_comments() => {
                format!(" i{number}:pullRequest(number:{number}){{__typename ...PrPart ...PullTl}}")
            }
            Some(true) => format!(
                " i{number}:pullRequest(number:{number}){{__typename reviewThreads{{totalCount}} ...PrPart ...PullTl}}"
            ),
            Some(false) => format!(" i{number}:issue(number:{number}){{__typename ...IssueTl}}"),
            None => format!(
                " i{number}:issueOrPullRequest(number:{number})\
                 {{__typename ...IssueCore ...IssueTl ...PrCore ...PrPart ...PullTl ...PrThreads}}"
            ),
        };
        operation.push_str(&field);
    }
    operation.push_str("}}");
    with_fragments(operation, schema)
}

/// The document of one more page of long timelines: numbers, whether they are pull requests, and cursors.
pub(crate) fn pages(threads: &[(u64, bool, &str)], schema: &Schema) -> String {
    let mut operation =
        format!("query Page($owner:String!,$name:String!){{{BUDGET} repository(owner:$owner,name:$name){{{REPOSITORY}");
    for (number, pull, cursor) in threads {
        let (field, entries) = if *pull { ("pullRequest", "...TL ...PTL") } else { ("issue", "...TL") };
        // JSON's texts are GraphQL's.
        let cursor = Value::from(*cursor);
        write!(
            operation,
            " i{number}:{field}(number:{number}){{__typename updatedAt timelineItems(first:100,after:{cursor})\
             {{totalCount pageInfo{{hasNextPage endCursor}} nodes{{__typename {entries}}}}}}}"
        )
        .expect("a string takes everything");
    }
    operation.push_str("}}");
    with_fragments(operation, schema)
}

/// The document that asks for parents of commits, counts of reactions, requests for reviews, comments of old threads, and
/// what review comments say now, of so many lists `$l0`, `$l1` … of up to a hundred node ids.
pub(crate) fn details(lists: usize) -> String {
    let detail = "fragment Detail on Node{\
         ... on Commit{parents(first:10){nodes{oid}}} \
         ... on Reactable{reactionGroups{content reactors{totalCount}}} \
         ... on PullRequestReviewComment{updatedAt author{__typename login}} \
         ... on PullRequest{reviewRequests(first:50){nodes{requestedReviewer{...Rev}}}} \
         ... on PullRequestReviewThread{comments(first:100){nodes{fullDatabaseId}}}}";
    let document = by_ids("Details", lists) + detail;
    with_fragments(document, &Schema::default())
}

/// The document that asks when texts were last edited, of so many lists as [`details`].
pub(crate) fn edited(lists: usize) -> String {
    by_ids("Edited", lists) + "fragment Detail on Node{... on Comment{lastEditedAt}}"
}

/// The document that asks for the versions of texts, of so many lists as [`details`].
pub(crate) fn edits(lists: usize) -> String {
    let edits = format!("userContentEdits(first:{MOST_EDITS}){{nodes{{editedAt deletedAt diff editor{{login}}}}}}");
    by_ids("Edits", lists) + &format!("fragment Detail on Node{{... on Comment{{{edits}}}}}")
}

/// The beginning of a document that asks for the fragment `Detail` of nodes by id. A token that does not see them is told
/// null, as of nodes that are not there; that it does not see their repository is told apart.
fn by_ids(operation: &str, lists: usize) -> String {
    let text = |one: &dyn Fn(usize) -> String| (0..lists).map(one).collect::<Vec<_>>().join(" ");
    let variables = text(&|list| format!("$l{list}:[ID!]!"));
    let fields = text(&|list| format!("l{list}:nodes(ids:$l{list}){{__typename id ...Detail}}"));
    format!(
        "query {operation}($owner:String!,$name:String! {variables}){{{BUDGET} \
         repository(owner:$owner,name:$name){{id}} {fields}}} "
    )
}

/// The document that asks how many items there are, and for the newest of each kind.
pub(crate) fn counts(discussions: bool) -> String {
    let newest = "(first:1,orderBy:{field:CREATED_AT,direction:DESC}){totalCount nodes{number}}";
    let discussions = if discussions { " discussions{totalCount}" } else { "" };
    format!(
        "query Counts($owner:String!,$name:String!){{{BUDGET} repository(owner:$owner,name:$name)\
         {{issues{newest} pullRequests{newest}{discussions}}}}}"
    )
}

/// The document that asks which numbers are discussions'.
pub(crate) fn discussions(numbers: impl Iterator<Item = u64>) -> String {
    let mut document =
        format!("query Discussions($owner:String!,$name:String!){{{BUDGET} repository(owner:$owner,name:$name){{id");
    for number in numbers {
        write!(document, " d{number}:discussion(number:{number}){{__typename}}").expect("a string takes everything");
    }
    document.push_str("}}");
    document
}

/// Adds the fragments that are used, and only those: an unused one is an error.
fn with_fragments(mut document: String, schema: &Schema) -> String {
    let fragments = fragments(schema);
    let mut missing: Vec<&(&str, String)> = fragments.iter().collect();
    loop {
        let (used, rest): (Vec<_>, Vec<_>) = missing.into_iter().partition(|(name, _)| uses(&document, name));
        if used.is_empty() {
            return document;
        }
        for (name, body) in used {
            write!(document, " fragment {name} {body}").expect("a string takes everything");
        }
        missing = rest;
    }
}

fn uses(document: &str, name: &str) -> bool {
    let spread = format!("...{name}");
    document.match_indices(&spread).any(|(at, _)| {
        let after = document[at + spread.len()..].chars().next();
        after.is_none_or(|character| !character.is_ascii_alphanumeric())
    })
}

fn fragments(schema: &Schema) -> Vec<(&'static str, String)> {
    let text = |name, body: &str| (name, body.to_owned());
    vec![
        ("IssueCore", format!("on Issue{{{CORE} state stateReason {}}}", newer_issue_fields(schema))),
        ("PrCore", format!("on PullRequest{{{CORE} prState:state isDraft mergedAt}}")),
        ("PrPart", format!("on PullRequest{{{PULL}}}")),
        text("PrThreads", "on PullRequest{reviewThreads{totalCount}}"),
        ("IssueTl", timeline("Issue", "timelineItems", "...TL")),
        ("PullTl", timeline("PullRequest", "prItems:timelineItems", "...TL ...PTL")),
        ("TL", entries(schema, false)),
        ("PTL", entries(schema, true)),
        text(
            "Src",
            "on Issue{__typename id fullDatabaseId number title url state stateReason createdAt updatedAt closedAt author{...U} repository{...Repo}}",
        ),
        text(
            "PrSrc",
            "on PullRequest{__typename id fullDatabaseId number title url prState:state isDraft mergedAt createdAt updatedAt closedAt author{...U} repository{...Repo}}",
        ),
        text("Repo", "on Repository{id databaseId name nameWithOwner url isPrivate isFork owner{...U}}"),
        text("Rel", "on Issue{number title state stateReason repository{...Repo}}"),
        text("Rev", "on RequestedReviewer{__typename ...U ... on Team{databaseId id name slug description url}}"),
        text("Cm", "on Commit{id oid repository{nameWithOwner}}"),
        text("Rx", "on Reactable{reactionGroups{content createdAt}}"),
        text(
            "U",
            "on Actor{__typename login url avatarUrl ... on User{databaseId id isSiteAdmin} ... on Bot{databaseId id} ... on Mannequin{databaseId id} ... on Organization{databaseId id} ... on EnterpriseUserAccount{id}}",
        ),
    ]
}

const CORE: &str = "id fullDatabaseId number title body url locked activeLockReason createdAt updatedAt closedAt \
    authorAssociation author{...U} assignees(first:20){nodes{...U}} \
    labels(first:100){nodes{id name color description isDefault}} \
    milestone{id number title description state dueOn createdAt updatedAt closedAt url creator{...U}} \
    comments{totalCount} ...Rx";

const PULL: &str = "id fullDatabaseId merged mergedAt mergedBy{...U} headRefName headRefOid headRepository{...Repo} \
    headRepositoryOwner{...U} baseRefName baseRefOid mergeCommit{oid} potentialMergeCommit{oid} additions deletions \
    changedFiles maintainerCanModify \
    autoMergeRequest{mergeMethod commitHeadline commitBody enabledBy{...U}}";

fn timeline(on: &str, field: &str, entries: &str) -> String {
    format!(
        "on {on}{{updatedAt {field}(first:100){{totalCount pageInfo{{hasNextPage endCursor}} nodes{{__typename {entries}}}}}}}"
    )
}

fn newer_issue_fields(schema: &Schema) -> String {
    let known = [
        ("issueType", "issueType{id name description color isEnabled}"),
        ("subIssuesSummary", "subIssuesSummary{total completed percentCompleted}"),
        ("issueDependenciesSummary", "issueDependenciesSummary{blockedBy blocking totalBlockedBy totalBlocking}"),
        ("parent", "parent{...Rel}"),
    ];
    let fields = known.iter().filter(|(name, _)| schema.fields.contains(*name)).map(|(_, text)| *text);
    fields.collect::<Vec<_>>().join(" ")
}

/// One inline fragment for each type of entry.
fn entries(schema: &Schema, pulls_only: bool) -> String {
    let mut text = String::from("on Node{id");
    for event in EVENT_TYPES.iter().filter(|event| event.pulls_only == pulls_only && schema.has(event)) {
        let fields = if event.is_of_card() && !schema.cards { "" } else { event.fields };
        let common = if event.is_event() { "createdAt actor{...U} " } else { "" };
        if !(common.is_empty() && fields.is_empty()) {
            write!(text, " ... on {}{{{common}{fields}}}", event.graphql).expect("a string takes everything");
        }
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::Listed, *};

    fn wanted(number: u64, issue: Option<Value>) -> Wanted {
        Wanted { number, listed: issue.map(|issue| Listed::new(&issue, None)) }
    }

    #[test]
    fn a_document_has_every_fragment_that_it_uses_and_no_other() {
        let issue = wanted(1, Some(json!({"number": 1})));
        let pull = wanted(2, Some(json!({"number": 2, "pull_request": {}})));
        let unknown = wanted(3, None);
        let schema = Schema::default();
        for document in [
            threads(std::slice::from_ref(&issue), &schema),
            threads(std::slice::from_ref(&pull), &schema),
            threads(std::slice::from_ref(&unknown), &schema),
            threads(&[issue.clone(), pull, unknown], &schema),
            pages(&[(7, true, "a"), (8, false, "b")], &schema),
            pages(&[(7, false, "a\"b")], &schema),
        ] {
            for (name, _) in fragments(&schema) {
                let defined = document.matches(&format!("fragment {name} ")).count();
                assert_eq!(defined, usize::from(uses(&document, name)), "{name}");
            }
            for spread in document.split("...").skip(1).filter(|rest| !rest.starts_with(' ')) {
                let name: String = spread.chars().take_while(char::is_ascii_alphanumeric).collect();
                assert!(document.contains(&format!("fragment {name} on ")), "{name} is not defined");
            }
            assert_eq!(document.matches('{').count(), document.matches('}').count());
        }
        assert!(!threads(&[issue], &schema).contains("PullRequestReview{"), "issues have no reviews");
    }

    #[test]
    fn newer_types_are_selected_only_where_the_server_has_them() {
        let unknown = [wanted(3, None)];
        assert!(!threads(&unknown, &Schema::default()).contains("IssueTypeAddedEvent"));
        let schema = Schema::of(&json!({
            "timeline": {"possibleTypes": [{"name": "IssueTypeAddedEvent"}]},
            "issue": {"fields": [{"name": "issueType"}]},
        }));
        let document = threads(&unknown, &schema);
        assert!(document.contains("... on IssueTypeAddedEvent{createdAt actor{...U} issueType{id name color}}"));
        assert!(document.contains("issueType{id name description color isEnabled}"));
        assert!(!document.contains("subIssuesSummary"));
    }
}
