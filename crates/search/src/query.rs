//! The query language: GitHub's own qualifiers, plus what GitHub lacks; one parser, one tree.
//!
//! A text is cut into terms ([`syntax`]), each qualifier is looked up in one table ([`table`]), and the whole is
//! lowered to a small tree ([`tree`]) that engines answer. Nothing a person types is an error: what cannot be
//! understood is left out with a [`Note`], and the rest still runs.

pub mod edit;
pub mod evaluate;
pub mod fields;
mod jump;
mod lower;
pub mod suggest;
pub mod syntax;
pub mod table;
pub mod tree;
mod value;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use jump::Jump;
use syntax::Expression;
use tree::{Node, Sort};

/// The longest text that is parsed, in characters; what follows is left out with a note.
pub const LONGEST_TEXT: usize = 4096;
/// The deepest nesting of parentheses; deeper ones are ignored with a note.
pub const DEEPEST: usize = 32;
/// The most terms of a query; what follows is left out with a note.
pub const MOST_TERMS: usize = 256;

/// What a query means depends on when and by whom it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseContext {
    /// What `@today` and `@now` are.
    pub now: Timestamp,
    /// Who `@me` is, where it can be known.
    pub me: Option<String>,
}

/// A parsed query: what to find and how to sort it.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    text: String,
    expression: Option<Expression>,
    node: Node,
    sort: Sort,
    jump: Option<Jump>,
    now: Timestamp,
}

/// A query and what was not understood in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The query, without what was not understood.
    pub query: Query,
    /// What was not understood, in the order of the text.
    pub notes: Vec<Note>,
}

/// Something in a query that was not understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Where it begins, in characters, from 1.
    pub column: usize,
    /// What was expected.
    pub message: String,
    /// What could stand there instead: the nearest known word, as it would be typed.
    pub suggestion: Option<String>,
}

impl Query {
    /// Parses a text. Takes time and memory in proportion to the text, and never fails.
    pub fn parse(text: &str, context: &ParseContext) -> Parsed {
        let (expression, mut notes) = syntax::parse(text);
        let lowered = lower::lower(expression.as_ref(), context);
        notes.extend(lowered.notes);
        notes.sort_by_key(|note| note.column);
        let query = Self {
            text: text.to_owned(),
            jump: jump::find(text, expression.as_ref()),
            expression,
            node: lowered.node,
            sort: lowered.sort,
            now: context.now,
        };
        Parsed { query, notes }
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What engines answer.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The order asked for.
    pub fn sort(&self) -> Sort {
        self.sort
    }

    /// When it was asked: what recency is measured from.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The thread, repository or commit that the text names, if it names one and nothing else.
    pub fn jump(&self) -> Option<&Jump> {
        self.jump.as_ref()
    }

    /// The query in its canonical spelling, which parses to the same query.
    pub fn print(&self) -> String {
        self.expression.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// The text with one more condition: what a click on a facet's value leads to. See [`edit::with`].
    pub fn with(&self, qualifier: &str, value: &str) -> String {
        edit::with(&self.text, qualifier, value)
    }

    /// The text without a condition. See [`edit::without`].
    pub fn without(&self, qualifier: &str, value: &str) -> String {
        edit::without(&self.text, qualifier, value)
    }

    /// Whether the text has a condition. See [`edit::is_active`].
    pub fn is_active(&self, qualifier: &str, value: &str) -> bool {
        edit::is_active(&self.text, qualifier, value)
    }
}
