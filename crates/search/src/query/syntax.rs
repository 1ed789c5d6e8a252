//! From text to terms and back.
//!
//! ```text
//! query  = or
//! or     = and { "OR" and }
//! and    = not { [ "AND" ] not }
//! not    = { "NOT" | "-" } ( "(" or ")" | term )
//! term   = '"' phrase '"' | name ":" value { "," value } | word
//! value  = ( '"' text '"' | text ) [ "@" date ]
//! ```
//! A parenthesis opens a group only where a term may begin, so that `main()` is a word;
//! one without its partner in the word ends the word. Two dashes begin a word, not a
//! negation, so that `--no-default-features` can be searched for. Only known names make a qualifier: `std::vec` and
//! `https://…` are words.

use std::fmt;

use super::{
    DEEPEST, LONGEST_TEXT, MOST_TERMS, Note,
    table::{self, Values},
};

/// What was typed, as a tree. Nested groups of one kind are flat, a group of one is its member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// All of two or more.
    And(Vec<Expression>),
    /// One of two or more.
    Or(Vec<Expression>),
    /// Not it; never directly inside another one.
    Not(Box<Expression>),
    /// A term.
    Term(Term),
}

/// A word, a phrase or a qualifier with its values.
#[derive(Debug, Clone)]
pub struct Term {
    /// What it is.
    pub content: Content,
    /// Where it begins, in characters from 1.
    pub column: usize,
    /// Where it stands, in bytes; a `-` before it included.
    pub(super) span: std::ops::Range<usize>,
}

/// Where a term stands says nothing about what it means.
impl PartialEq for Term {
    fn eq(&self, other: &Self) -> bool {
        self.content == other.content
    }
}

impl Eq for Term {}

/// What a term says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A bare word.
    Word(String),
    /// Quoted words.
    Phrase(String),
    /// A known qualifier and its values, one at least.
    Qualifier(&'static str, Vec<Value>),
}

/// A value of a qualifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The value, quotes and escapes resolved.
    pub text: String,
    /// Whether it was quoted.
    pub quoted: bool,
    /// The date after `@`, as typed.
    pub as_of: Option<String>,
}

impl Expression {
    /// All of some; none is nothing said.
    fn all(members: Vec<Self>) -> Option<Self> {
        let mut flat = Vec::with_capacity(members.len());
        for member in members {
            match member {
                Self::And(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        if flat.len() > 1 { Some(Self::And(flat)) } else { flat.pop() }
    }

    /// One of some; none is nothing said.
    fn any(members: Vec<Self>) -> Option<Self> {
        let mut flat = Vec::with_capacity(members.len());
        for member in members {
            match member {
                Self::Or(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        if flat.len() > 1 { Some(Self::Or(flat)) } else { flat.pop() }
    }

    fn negated(self) -> Self {
        match self {
            Self::Not(inner) => *inner,
            other => Self::Not(Box::new(other)),
        }
    }

    /// Every term, in the order of the text.
    pub fn terms(&self) -> Vec<&Term> {
        match self {
            Self::And(members) | Self::Or(members) => members.iter().flat_map(Self::terms).collect(),
            Self::Not(inner) => inner.terms(),
            Self::Term(term) => vec![term],
        }
    }
}

/// Parses a text. What cannot be understood is left out and noted.
pub fn parse(text: &str) -> (Option<Expression>, Vec<Note>) {
    let cut = text.char_indices().nth(LONGEST_TEXT).map(|(at, _)| at);
    let mut parser = Parser { text: &text[..cut.unwrap_or(text.len())], at: 0, depth: 0, terms: 0, notes: Vec::new() };
    if let Some(cut) = cut {
        parser.note(cut, format!("only the first {LONGEST_TEXT} characters of a query are read"), None);
    }
    let expression = parser.or();
    (expression, parser.notes)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    terms: usize,
    notes: Vec<Note>,
}

/// What separates terms: white space, and control characters that no one can see.
fn is_space(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches(is_space).len();
    }

    fn column(&self, at: usize) -> usize {
        self.text[..at.min(self.text.len())].chars().count() + 1
    }

    fn note(&mut self, at: usize, message: String, suggestion: Option<String>) {
        let column = self.column(at);
        self.notes.push(Note { column, message, suggestion });
    }

    /// Whether the next word is this operator; if so it is read.
    fn operator(&mut self, word: &str) -> bool {
        self.skip_space();
        let Some(after) = self.rest().strip_prefix(word) else { return false };
        let ends = after.chars().next().is_none_or(|c| is_space(c) || c == '(' || c == ')');
        if ends {
            self.at += word.len();
        }
        ends
    }

    fn or(&mut self) -> Option<Expression> {
        let mut members = Vec::new();
        loop {
            let before = self.at;
            match self.and() {
                Some(member) => members.push(member),
                None if before < self.text.len() || !members.is_empty() => self.missing_side(before),
                None => {}
            }
            if !self.operator("OR") {
                return Expression::any(members);
            }
        }
    }

    /// Notes an `OR` with nothing on one side.
    fn missing_side(&mut self, at: usize) {
        let before = self.text[..at].trim_end_matches(is_space).ends_with("OR");
        let after = self.rest().trim_start_matches(is_space).starts_with("OR");
        if before || after {
            self.note(at, "expected a term on both sides of `OR`".into(), None);
        }
    }

    fn and(&mut self) -> Option<Expression> {
        let mut members = Vec::new();
        loop {
            self.skip_space();
            let start = self.at;
            if self.operator("AND") {
                self.skip_space();
                if members.is_empty() || self.rest().is_empty() {
                    self.note(start, "expected a term on both sides of `AND`".into(), None);
                }
                continue;
            }
            if self.rest().is_empty() || self.ends_group() || self.is_operator("OR") {
                return Expression::all(members);
            }
            members.extend(self.not());
        }
    }

    /// Whether the next word is this operator; it is not read.
    fn is_operator(&mut self, word: &str) -> bool {
        let at = self.at;
        let found = self.operator(word);
        self.at = at;
        found
    }

    fn ends_group(&self) -> bool {
        self.depth > 0 && self.peek() == Some(')')
    }

    fn not(&mut self) -> Option<Expression> {
        let mut negated = false;
        let mut start = self.at;
        loop {
            self.skip_space();
            if self.operator("NOT") {
                negated = !negated;
            } else if self.is_minus() {
                start = self.at;
                self.at += 1;
                negated = !negated;
            } else {
                break;
            }
        }
        let inner = self.group_or_term(start)?;
        Some(if negated { inner.negated() } else { inner })
    }

    /// A single dash directly before a term.
    fn is_minus(&self) -> bool {
        let mut rest = self.rest().chars();
        rest.next() == Some('-') && rest.next().is_some_and(|c| c != '-' && c != ')' && !is_space(c))
    }

    fn group_or_term(&mut self, start: usize) -> Option<Expression> {
        let open = self.at;
        if self.rest().is_empty() || self.is_operator("OR") || self.is_operator("AND") {
            self.note(start, "expected a term after `NOT`".into(), None);
            return None;
        }
        match self.peek() {
            Some('(') => self.group(open),
            Some(')') => {
                self.at += 1;
                if self.depth == 0 {
                    self.note(open, "no group is open here".into(), None);
                } else {
                    self.at = open; // The end of the group around: `and` sees it.
                }
                None
            }
            _ => self.term(start.min(open)),
        }
    }

    fn group(&mut self, open: usize) -> Option<Expression> {
        self.at += 1;
        if self.depth == DEEPEST {
            self.note(open, format!("groups deeper than {DEEPEST} are ignored"), None);
            self.at = self.text.len();
            return None;
        }
        self.depth += 1;
        let inner = self.or();
        self.skip_space();
        if !self.skip(')') {
            self.note(open, "the group opened here is not closed: expected `)`".into(), None);
        }
        self.depth -= 1;
        inner
    }

    fn term(&mut self, start: usize) -> Option<Expression> {
        self.terms += 1;
        if self.terms > MOST_TERMS {
            self.note(self.at, format!("only the first {MOST_TERMS} terms of a query are read"), None);
            self.at = self.text.len();
            return None;
        }
        let at = self.at;
        let column = self.column(at);
        let content = if self.peek() == Some('"') { self.phrase() } else { self.word_or_qualifier() }?;
        Some(Expression::Term(Term { content, column, span: start..self.at }))
    }

    fn phrase(&mut self) -> Option<Content> {
        let text = self.quoted();
        (!text.trim().is_empty()).then_some(Content::Phrase(text))
    }

    /// Reads quoted text; `\"` and `\\` stand for themselves.
    fn quoted(&mut self) -> String {
        let open = self.at;
        self.at += 1;
        let mut text = String::new();
        let mut characters = self.text[self.at..].char_indices().peekable();
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    self.at += at + 1;
                    return text;
                }
                '\\' if matches!(characters.peek(), Some((_, '"' | '\\'))) => {
                    text.extend(characters.next().map(|(_, escaped)| escaped));
                }
                other => text.push(other),
            }
        }
        self.at = self.text.len();
        self.note(open, "the quote opened here is not closed: expected `\"`".into(), None);
        text
    }

    /// Reads up to white space, a parenthesis that has no partner in the word, or a character that ends it.
    fn bare(&mut self, ends: impl Fn(char) -> bool) -> String {
        let mut open = Vec::new();
        let mut length = 0;
        for c in self.rest().chars() {
            match c {
                '(' => open.push(length),
                ')' if open.pop().is_none() => break,
                _ if is_space(c) || ends(c) => break,
                _ => {}
            }
            length += c.len_utf8();
        }
        let length = open.first().copied().unwrap_or(length);
        let text = self.rest()[..length].to_owned();
        self.at += length;
        text
    }

    fn word_or_qualifier(&mut self) -> Option<Content> {
        let start = self.at;
        if let Some(qualifier) = self.qualifier_name() {
            return self.values(qualifier, start);
        }
        let word = self.bare(|_| false);
        if self.is_mistyped(&word, start) {
            return None;
        }
        Some(Content::Word(word))
    }

    /// The known name before a colon, if one stands here; it is read with its colon.
    fn qualifier_name(&mut self) -> Option<&'static str> {
        let (name, value) = self.rest().split_once(':')?;
        let qualifier = table::find(name)?;
        if value.starts_with([':', '/']) {
            return None;
        }
        self.at += name.len() + 1;
        Some(qualifier.name)
    }

    /// Whether a word looks like a qualifier with a typing error: then it is noted, and left out.
    fn is_mistyped(&mut self, word: &str, at: usize) -> bool {
        let Some((name, value)) = word.split_once(':') else { return false };
        let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic() || c == '-');
        if !plain || !value.starts_with(|c: char| c.is_alphanumeric() || "\"<>@*".contains(c)) {
            return false;
        }
        let nearest = table::nearest(name, table::QUALIFIERS.iter().map(|qualifier| qualifier.name));
        let message = match nearest {
            Some(_) => format!("`{name}` is not a qualifier; left out"),
            None => format!("`{name}` is not a qualifier; searched as words"),
        };
        self.note(at, message, nearest.map(|nearest| format!("{nearest}:{value}")));
        nearest.is_some()
    }

    fn values(&mut self, name: &'static str, start: usize) -> Option<Content> {
        let mut values = Vec::new();
        // Times have an `@` of their own, and branches may have any.
        let kind = table::find(name).map(|qualifier| qualifier.values);
        let dates = !matches!(kind, Some(Values::Time | Values::Count | Values::Duration | Values::Text));
        loop {
            let prefix = if name == "was" { self.condition_name() } else { String::new() };
            values.extend(self.value(dates).map(|value| Value { text: prefix + &value.text, ..value }));
            if !self.skip(',') {
                break;
            }
        }
        if values.is_empty() {
            let example = table::find(name).map_or("", |qualifier| qualifier.example);
            self.note(start, format!("expected a value after `{name}:`, as in `{example}`"), None);
            return None;
        }
        Some(Content::Qualifier(name, values))
    }

    /// The `label:` of `was:label:"two words"`, so that quotes may stand where a person puts them.
    fn condition_name(&mut self) -> String {
        let length = self.rest().bytes().take_while(u8::is_ascii_alphabetic).count();
        if !self.rest()[length..].starts_with(":\"") {
            return String::new();
        }
        let name = self.rest()[..=length].to_owned();
        self.at += name.len();
        name
    }

    /// Reads one value, and the date after its `@` where it may have one.
    fn value(&mut self, dates: bool) -> Option<Value> {
        if self.peek() == Some('"') {
            let text = self.quoted();
            let at = self.at;
            let mut as_of = None;
            if dates && self.skip('@') {
                let date = self.bare(|c| c == ',');
                if looks_like_date(&date) {
                    as_of = Some(date);
                } else {
                    self.at = at;
                }
            }
            return (!text.trim().is_empty()).then_some(Value { text, quoted: true, as_of });
        }
        let text = self.bare(|c| c == ',');
        let (text, as_of) = match text.rsplit_once('@') {
            Some((value, date)) if dates && !value.is_empty() && looks_like_date(date) => {
                // `bug@@today-7d` says the same as `bug@today-7d`.
                (value.strip_suffix('@').filter(|value| !value.is_empty()).unwrap_or(value), Some(date.to_owned()))
            }
            _ => (text.as_str(), None),
        };
        (!text.is_empty()).then(|| Value { text: text.to_owned(), quoted: false, as_of })
    }
}

/// Whether the text after an `@` is meant as a date: four digits, or `today`.
fn looks_like_date(text: &str) -> bool {
    let digits = text.len() >= 4 && text.bytes().take(4).all(|byte| byte.is_ascii_digit());
    digits || text.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("today"))
}

/// Quotes a text so that it is read back as it is.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let escapes = c == '"' || (c == '\\' && matches!(characters.peek(), None | Some('"' | '\\')));
        if escapes {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // After a name and its colon, these would begin a word such as `std::vec`.
        let quoted = self.quoted || self.text.starts_with([':', '/']);
        if quoted {
            f.write_str(&quote(&self.text))?
        } else {
            f.write_str(&self.text)?
        }
        match &self.as_of {
            Some(date) => write!(f, "@{date}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            Content::Word(word) => f.write_str(word),
            Content::Phrase(text) => f.write_str(&quote(text)),
            Content::Qualifier(name, values) => {
                write!(f, "{name}:")?;
                for (position, value) in values.iter().enumerate() {
                    if position > 0 {
                        f.write_str(",")?;
                    }
                    value.fmt(f)?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Term(term) => term.fmt(f),
            Self::Not(inner) => match &**inner {
                Self::Term(term) if matches!(&term.content, Content::Word(word) if word.starts_with('-')) => {
                    write!(f, "NOT {term}")
                }
                Self::Term(term) => write!(f, "-{term}"),
                group => write!(f, "-({group})"),
            },
            Self::And(members) => join(f, members, " ", |member| matches!(member, Self::Or(_))),
            Self::Or(members) => join(f, members, " OR ", |_| false),
        }
    }
}

fn join(
    f: &mut fmt::Formatter<'_>,
    members: &[Expression],
    separator: &str,
    in_parentheses: impl Fn(&Expression) -> bool,
) -> fmt::Result {
    for (position, member) in members.iter().enumerate() {
        if position > 0 {
            f.write_str(separator)?;
        }
        if in_parentheses(member) { write!(f, "({member})")? } else { write!(f, "{member}")? }
    }
    Ok(())
}
