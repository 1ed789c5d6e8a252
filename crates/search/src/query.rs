//! The query language: GitHub's own qualifiers, plus what GitHub lacks; one parser, one tree.

pub mod suggest;

use serde::{Deserialize, Serialize};

/// A parsed query: what to find and how to sort it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Query {
    /// The text it was parsed from.
    pub text: String,
}
