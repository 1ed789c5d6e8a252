//! What is being typed, and what could complete it.

/// The word being typed at the end of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuggestRequest {
    /// The qualifier that it follows (`label`, `author`, …), or none for a bare word.
    pub qualifier: Option<String>,
    /// What was typed of the value.
    pub prefix: String,
}
