//! Every qualifier, operator and sort of the language, as data: what the parser knows, what help pages say, what is
//! suggested while typing, and what the test asks scenarios for.

use super::tree::{Keyword, Number, SortKey, Time};

/// A qualifier: the name before the colon.
#[derive(Debug, Clone, Copy)]
pub struct Qualifier {
    /// The name, lower case.
    pub name: &'static str,
    /// What may stand after the colon.
    pub values: Values,
    /// Whether `@2024-01-05` may follow a value.
    pub as_of: bool,
    /// What it asks, in a few words.
    pub help: &'static str,
    /// An example of its use.
    pub example: &'static str,
    pub(super) meaning: Meaning,
}

/// What may stand after a qualifier's colon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// One of these words.
    Fixed(&'static [Choice]),
    /// The name of a label.
    Label,
    /// A login, or `@me`.
    Person,
    /// The title of a milestone.
    Milestone,
    /// `owner/name`.
    Repository,
    /// An owner's login.
    Owner,
    /// Any text.
    Text,
    /// A day, month, year or instant, or a range of them.
    Time,
    /// A number, or a range.
    Count,
    /// A length of time such as `7d`, or a range.
    Duration,
    /// Another condition that was once true, such as `label:bug`.
    Condition,
}

/// A word of a fixed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The word as it is typed.
    pub word: &'static str,
    /// What it says.
    pub help: &'static str,
}

const fn choice(word: &'static str, help: &'static str) -> Choice {
    Choice { word, help }
}

/// How a qualifier is lowered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Meaning {
    Is,
    State,
    Kind,
    Keyword(Keyword),
    Owner,
    Involves,
    YesNo(super::tree::Flag),
    Time(Time),
    Number(Number),
    Hours(Number),
    OpenFor,
    Missing,
    Linked,
    Sha,
    Was,
    In,
    Sort,
}

const YES_NO: &[Choice] = &[choice("true", "yes"), choice("false", "no")];

/// Words of `is:`.
pub const IS: &[Choice] = &[
    choice("open", "not closed"),
    choice("closed", "closed or merged"),
    choice("merged", "a merged pull request"),
    choice("unmerged", "a pull request that is not merged"),
    choice("draft", "a draft pull request"),
    choice("locked", "its conversation is locked"),
    choice("unlocked", "its conversation is not locked"),
    choice("issue", "an issue"),
    choice("pr", "a pull request"),
    choice("public", "in a public repository"),
    choice("private", "in a private repository"),
];

/// Words of `sort:`; each may be followed by `-asc` or `-desc`.
pub const SORTS: &[(Choice, SortKey)] = &[
    (choice("relevance", "best match first"), SortKey::Relevance),
    (choice("created", "latest opened first"), SortKey::Created),
    (choice("updated", "latest updated first"), SortKey::Updated),
    (choice("comments", "most discussed first"), SortKey::Comments),
    (choice("reactions", "most reactions first"), SortKey::Reactions),
    (choice("interactions", "most reactions and comments first"), SortKey::Interactions),
];

const SORT_WORDS: &[Choice] = &[
    choice("relevance", "best match first"),
    choice("relevance-desc", "best match first"),
    choice("relevance-asc", "best match last"),
    choice("created", "latest opened first"),
    choice("created-desc", "latest opened first"),
    choice("created-asc", "oldest first"),
    choice("updated", "latest updated first"),
    choice("updated-desc", "latest updated first"),
    choice("updated-asc", "longest untouched first"),
    choice("comments", "most discussed first"),
    choice("comments-desc", "most discussed first"),
    choice("comments-asc", "least discussed first"),
    choice("reactions", "most reactions first"),
    choice("reactions-desc", "most reactions first"),
    choice("reactions-asc", "fewest reactions first"),
    choice("interactions", "most reactions and comments first"),
    choice("interactions-desc", "most reactions and comments first"),
    choice("interactions-asc", "fewest reactions and comments first"),
];

const fn qualifier(
    name: &'static str,
    values: Values,
    meaning: Meaning,
    help: &'static str,
    example: &'static str,
) -> Qualifier {
    Qualifier { name, values, as_of: false, help, example, meaning }
}

const fn as_of(mut qualifier: Qualifier) -> Qualifier {
    qualifier.as_of = true;
    qualifier
}

/// Every qualifier, in the order of the help page.
pub const QUALIFIERS: &[Qualifier] = &[
    as_of(qualifier("is", Values::Fixed(IS), Meaning::Is, "state, kind and visibility", "is:open is:issue")),
    as_of(qualifier(
        "state",
        Values::Fixed(&[
            choice("open", "not closed"),
            choice("closed", "closed or merged"),
            choice("merged", "a merged pull request"),
        ]),
        Meaning::State,
        "the state",
        "state:closed",
    )),
    qualifier(
        "type",
        Values::Fixed(&[choice("issue", "an issue"), choice("pr", "a pull request")]),
        Meaning::Kind,
        "issue or pull request",
        "type:pr",
    ),
    qualifier(
        "reason",
        Values::Fixed(&[
            choice("completed", "done"),
            choice("not planned", "will not be done"),
            choice("duplicate", "another item says the same"),
            choice("reopened", "opened again"),
        ]),
        Meaning::Keyword(Keyword::Reason),
        "why it was closed",
        "reason:\"not planned\"",
    ),
    qualifier(
        "repo",
        Values::Repository,
        Meaning::Keyword(Keyword::Repository),
        "in a repository; several mean any of them",
        "repo:rust-lang/log",
    ),
    qualifier("org", Values::Owner, Meaning::Owner, "in repositories of an organisation", "org:rust-lang"),
    qualifier("user", Values::Owner, Meaning::Owner, "in repositories of a person", "user:octocat"),
    as_of(qualifier(
        "label",
        Values::Label,
        Meaning::Keyword(Keyword::Label),
        "has a label; several: all of them; with a comma: one of them",
        "label:bug,crash",
    )),
    qualifier("author", Values::Person, Meaning::Keyword(Keyword::Author), "opened by", "author:octocat"),
    as_of(qualifier(
        "assignee",
        Values::Person,
        Meaning::Keyword(Keyword::Assignee),
        "assigned to",
        "assignee:octocat",
    )),
    qualifier(
        "commenter",
        Values::Person,
        Meaning::Keyword(Keyword::Commenter),
        "commented on by",
        "commenter:octocat",
    ),
    qualifier("mentions", Values::Person, Meaning::Keyword(Keyword::Mention), "mentions a person", "mentions:octocat"),
    qualifier(
        "involves",
        Values::Person,
        Meaning::Involves,
        "opened by, assigned to, mentions or commented on by",
        "involves:octocat",
    ),
    qualifier("reviewed-by", Values::Person, Meaning::Keyword(Keyword::Reviewer), "reviewed by", "reviewed-by:octocat"),
    qualifier(
        "review-requested",
        Values::Person,
        Meaning::Keyword(Keyword::ReviewRequested),
        "waits for a review by",
        "review-requested:octocat",
    ),
    qualifier(
        "review",
        Values::Fixed(&[
            choice("none", "no review"),
            choice("required", "a review is asked for"),
            choice("approved", "approved"),
            choice("changes_requested", "changes were asked for"),
        ]),
        Meaning::Keyword(Keyword::Review),
        "the state of its review",
        "review:approved",
    ),
    as_of(qualifier(
        "milestone",
        Values::Milestone,
        Meaning::Keyword(Keyword::Milestone),
        "in a milestone",
        "milestone:\"1.0\"",
    )),
    qualifier("head", Values::Text, Meaning::Keyword(Keyword::Head), "from a branch", "head:fix-parser"),
    qualifier("base", Values::Text, Meaning::Keyword(Keyword::Base), "into a branch", "base:master"),
    qualifier("sha", Values::Text, Meaning::Sha, "has a commit, by the beginning of its name", "sha:4f3a1c9"),
    qualifier(
        "in",
        Values::Fixed(&[
            choice("title", "words in titles only"),
            choice("body", "words in bodies only"),
            choice("comments", "words in comments and reviews only"),
        ]),
        Meaning::In,
        "where the words are looked for",
        "crash in:title",
    ),
    qualifier("created", Values::Time, Meaning::Time(Time::Created), "when it was opened", "created:>=2024-01-01"),
    qualifier("updated", Values::Time, Meaning::Time(Time::Updated), "when it was last updated", "updated:>@today-7d"),
    qualifier("closed", Values::Time, Meaning::Time(Time::Closed), "when it was closed", "closed:2024-01..2024-03"),
    qualifier("merged", Values::Time, Meaning::Time(Time::Merged), "when it was merged", "merged:<2024-06-01"),
    qualifier("comments", Values::Count, Meaning::Number(Number::Comments), "how many comments", "comments:>50"),
    qualifier("reactions", Values::Count, Meaning::Number(Number::Reactions), "how many reactions", "reactions:>=10"),
    qualifier(
        "interactions",
        Values::Count,
        Meaning::Number(Number::Interactions),
        "how many reactions and comments",
        "interactions:>100",
    ),
    qualifier(
        "no",
        Values::Fixed(&[
            choice("label", "without a label"),
            choice("assignee", "without an assignee"),
            choice("milestone", "without a milestone"),
        ]),
        Meaning::Missing,
        "what it lacks",
        "no:label",
    ),
    qualifier(
        "draft",
        Values::Fixed(YES_NO),
        Meaning::YesNo(super::tree::Flag::Draft),
        "a draft pull request",
        "draft:false",
    ),
    qualifier(
        "archived",
        Values::Fixed(YES_NO),
        Meaning::YesNo(super::tree::Flag::Archived),
        "in an archived repository",
        "archived:false",
    ),
    qualifier(
        "linked",
        Values::Fixed(&[
            choice("pr", "an issue linked to a pull request"),
            choice("issue", "a pull request linked to an issue"),
        ]),
        Meaning::Linked,
        "linked to the other kind",
        "linked:pr",
    ),
    qualifier(
        "was",
        Values::Condition,
        Meaning::Was,
        "was once true: open, closed, merged, draft, locked, or a label, assignee, milestone or title",
        "was:label:bug",
    ),
    qualifier(
        "waiting",
        Values::Fixed(&[
            choice("author", "a maintainer spoke last"),
            choice("maintainers", "somebody else spoke last"),
        ]),
        Meaning::Keyword(Keyword::Waiting),
        "who has to act next on an open item",
        "waiting:maintainers",
    ),
    qualifier(
        "first-response",
        Values::Duration,
        Meaning::Hours(Number::FirstResponse),
        "how long the first answer by somebody else took",
        "first-response:>7d",
    ),
    qualifier("open-for", Values::Duration, Meaning::OpenFor, "open now, and opened so long ago", "open-for:>90d"),
    qualifier("reopened", Values::Count, Meaning::Number(Number::Reopens), "how often it was reopened", "reopened:>1"),
    qualifier(
        "participants",
        Values::Count,
        Meaning::Number(Number::Participants),
        "how many people took part",
        "participants:>5",
    ),
    qualifier(
        "touched-by",
        Values::Person,
        Meaning::Keyword(Keyword::Actor),
        "anything was done on it by",
        "touched-by:octocat",
    ),
    qualifier("sort", Values::Fixed(SORT_WORDS), Meaning::Sort, "the order of the hits", "sort:updated-desc"),
];

/// An operator, for help pages and for the test that every one has a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operator {
    /// Its name in tests and on help pages.
    pub name: &'static str,
    /// What it does.
    pub help: &'static str,
    /// An example.
    pub example: &'static str,
}

const fn operator(name: &'static str, help: &'static str, example: &'static str) -> Operator {
    Operator { name, help, example }
}

/// Every operator.
pub const OPERATORS: &[Operator] = &[
    operator("words", "all of the words, anywhere in the thread", "parser crash"),
    operator("phrase", "exactly these words, one after another", "\"out of memory\""),
    operator("minus", "without", "-label:wontfix"),
    operator("NOT", "without", "NOT crash"),
    operator("AND", "both; the same as nothing between them", "crash AND parser"),
    operator("OR", "one of them", "crash OR panic"),
    operator("parentheses", "a group", "label:bug (crash OR panic)"),
    operator("comma", "one of the values", "label:bug,crash"),
    operator("greater", "after, more than", "comments:>5"),
    operator("at least", "from, at least", "comments:>=5"),
    operator("less", "before, fewer than", "comments:<5"),
    operator("at most", "up to, at most", "comments:<=5"),
    operator("range", "from one to the other, both included", "created:2024-01-01..2024-03-31"),
    operator("open range", "an end left open", "comments:10..*"),
    operator("today", "relative to now: h, d, w, m, y", "updated:>@today-7d"),
    operator("as of", "true at the last instant of that UTC day", "label:bug@2024-01-05"),
];

/// The qualifier of this name, in any letter case.
pub fn find(name: &str) -> Option<&'static Qualifier> {
    QUALIFIERS.iter().find(|qualifier| qualifier.name.eq_ignore_ascii_case(name))
}

/// The nearest of some words, if one is near enough to be meant: two letters wrong in five or more, one in fewer.
pub fn nearest<'a>(word: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    if !(3..=40).contains(&length) {
        return None;
    }
    let allowed = if length < 5 { 1 } else { 2 };
    let word = word.to_lowercase();
    words
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{ParseContext, Query};

    #[test]
    fn every_example_is_understood_without_a_note() {
        let context = ParseContext { now: "2024-06-01T12:00:00Z".parse().unwrap(), me: None };
        let examples = QUALIFIERS.iter().map(|q| q.example).chain(OPERATORS.iter().map(|o| o.example));
        for example in examples {
            let parsed = Query::parse(example, &context);
            assert_eq!(parsed.notes, [], "{example}");
        }
    }

    #[test]
    fn names_are_lower_case_and_unique() {
        let mut names: Vec<_> = QUALIFIERS.iter().map(|qualifier| qualifier.name).collect();
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), QUALIFIERS.len());
    }

    #[test]
    fn every_sort_key_can_be_asked_for() {
        for key in SortKey::ALL {
            assert!(SORTS.iter().any(|(_, known)| *known == key), "{key:?}");
        }
    }
}
