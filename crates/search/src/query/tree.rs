//! The lowered query: what an engine has to answer.
//!
//! Small and closed on purpose: an engine matches every variant without a wildcard, so a new one does not compile
//! until every engine knows it. Everything is said of the item; comments count as text of their item.

use std::ops::Bound;

use jiff::Timestamp;

/// A condition on an item.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// Every item.
    All,
    /// No item.
    Nothing,
    /// All of them are true.
    And(Vec<Node>),
    /// One of them is true.
    Or(Vec<Node>),
    /// It is not true.
    Not(Box<Node>),
    /// Words are found in the item.
    Text(Text),
    /// A keyword field has this value. Compared without regard to case; the value is lower case here.
    Is(Keyword, String),
    /// A keyword field has a value that begins so; lower case.
    Starts(Keyword, String),
    /// A keyword field has any value.
    Any(Keyword),
    /// A yes-or-no field says yes.
    Flag(Flag),
    /// A number lies within bounds; an item without the number does not match.
    Number(Number, Range<f64>),
    /// A time lies within bounds; an item without the time does not match.
    Time(Time, Range<Timestamp>),
    /// Something was true at an instant, or ever: asked of the item's intervals.
    Held(Held),
}

/// Words to find.
///
/// The text is cut into word tokens (`tokens::words`); they must stand one after another, within one part: the title,
/// the body, or one comment, review or review comment. Unless `exact`, the whole text as one identifier token
/// (`tokens::idents`) finds the item as well. A text without any token matches everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// A word, or the words of a quoted phrase, as typed.
    pub text: String,
    /// Quoted: its words only, not as an identifier.
    pub exact: bool,
    /// Where to look.
    pub parts: Parts,
}

/// The parts of an item in which words are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// The title.
    pub title: bool,
    /// The body.
    pub body: bool,
    /// Comments, reviews and review comments.
    pub comments: bool,
}

impl Parts {
    /// Everywhere: what a query asks unless it says `in:`.
    pub const ALL: Self = Self { title: true, body: true, comments: true };
    /// Nowhere; where `in:` begins.
    pub(crate) const NONE: Self = Self { title: false, body: false, comments: false };
}

/// Fields that hold names and words of a fixed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Keyword {
    /// `owner/name`.
    Repository,
    /// `issue` or `pull_request`.
    Kind,
    /// `open`, `closed` or `merged`.
    State,
    /// `completed`, `not_planned`, `duplicate`, `reopened`.
    Reason,
    /// Labels now.
    Label,
    /// The author's login.
    Author,
    /// Assignees now.
    Assignee,
    /// The milestone now.
    Milestone,
    /// Branch of a pull request's change.
    Head,
    /// Branch it goes to.
    Base,
    /// Items it refers to: `owner/name#12`, and `#12` as well.
    Reference,
    /// Commit shas of the thread.
    Sha,
    /// Paths, and what remains of a path after each `/`.
    Path,
    /// Logins mentioned.
    Mention,
    /// Logins that commented.
    Commenter,
    /// Logins that reviewed.
    Reviewer,
    /// Logins and teams asked for review now.
    ReviewRequested,
    /// `none`, `required`, `approved`, `changes_requested`.
    Review,
    /// Logins of every event.
    Actor,
    /// `author` or `maintainers`.
    Waiting,
}

impl Keyword {
    /// Every keyword field.
    pub const ALL: [Self; 20] = [
        Self::Repository,
        Self::Kind,
        Self::State,
        Self::Reason,
        Self::Label,
        Self::Author,
        Self::Assignee,
        Self::Milestone,
        Self::Head,
        Self::Base,
        Self::Reference,
        Self::Sha,
        Self::Path,
        Self::Mention,
        Self::Commenter,
        Self::Reviewer,
        Self::ReviewRequested,
        Self::Review,
        Self::Actor,
        Self::Waiting,
    ];
}

/// Yes-or-no fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flag {
    /// A draft pull request.
    Draft,
    /// The conversation is locked.
    Locked,
    /// Seen only by who may read the repository.
    Private,
    /// The repository is archived.
    Archived,
    /// Linked to a pull request, or to an issue.
    Linked,
}

impl Flag {
    /// Every flag.
    pub const ALL: [Self; 5] = [Self::Draft, Self::Locked, Self::Private, Self::Archived, Self::Linked];
}

/// Numeric fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Number {
    /// The item's number.
    Number,
    /// Comments on the conversation.
    Comments,
    /// Reactions on the item.
    Reactions,
    /// Reactions and comments.
    Interactions,
    /// People who said something.
    Participants,
    /// How often it was reopened.
    Reopens,
    /// Hours to the first response.
    FirstResponse,
}

impl Number {
    /// Every numeric field.
    pub const ALL: [Self; 7] = [
        Self::Number,
        Self::Comments,
        Self::Reactions,
        Self::Interactions,
        Self::Participants,
        Self::Reopens,
        Self::FirstResponse,
    ];
}

/// Times of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Time {
    /// Opened.
    Created,
    /// GitHub's `updated_at`.
    Updated,
    /// Closed.
    Closed,
    /// Merged.
    Merged,
}

impl Time {
    /// Every time field.
    pub const ALL: [Self; 4] = [Self::Created, Self::Updated, Self::Closed, Self::Merged];
}

/// From where to where.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range<T> {
    /// The lower end.
    pub from: Bound<T>,
    /// The upper end.
    pub to: Bound<T>,
}

impl<T: PartialOrd> Range<T> {
    /// Whether a value lies in it.
    pub fn contains(&self, value: &T) -> bool {
        let above = match &self.from {
            Bound::Included(from) => value >= from,
            Bound::Excluded(from) => value > from,
            Bound::Unbounded => true,
        };
        let below = match &self.to {
            Bound::Included(to) => value <= to,
            Bound::Excluded(to) => value < to,
            Bound::Unbounded => true,
        };
        above && below
    }
}

/// Something that was true of an item for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// `state`, `label`, `assignee`, `milestone`, `title`, `draft`, `locked`: an interval's dimension.
    pub dimension: &'static str,
    /// The value, lower case; compared with an interval's `value` and its `value_now`.
    pub value: String,
    /// When, or ever: an interval holds at an instant when `from <= at < to`.
    pub at: Option<Timestamp>,
}

/// What hits are sorted by. Equal ones stand in the order of repository id and number, the later first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum SortKey {
    /// The best match first; where nothing is asked in words, the latest created.
    #[default]
    Relevance,
    /// When it was opened.
    Created,
    /// When it was last updated.
    Updated,
    /// Comments on the conversation.
    Comments,
    /// Reactions.
    Reactions,
    /// Reactions and comments.
    Interactions,
}

impl SortKey {
    /// Every key.
    pub const ALL: [Self; 6] =
        [Self::Relevance, Self::Created, Self::Updated, Self::Comments, Self::Reactions, Self::Interactions];
}

/// A sort order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Sort {
    /// By what.
    pub key: SortKey,
    /// Smallest, oldest or least relevant first.
    pub ascending: bool,
}
