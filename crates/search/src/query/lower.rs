//! From terms to the tree that engines answer.
//!
//! Terms beside each other must all hold, but several `repo:`, `org:` and `user:` mean any of them, as on GitHub.
//! `in:` and `sort:` speak for the whole query, wherever they stand.

use jiff::{SignedDuration, Timestamp};
use std::ops::Bound;

use super::{
    Note, ParseContext, jump,
    syntax::{Content, Expression, Term, Value, quote},
    table::{self, Choice, Meaning, Qualifier, SORTS, Values},
    tree::{Flag, Held, Keyword, Node, Number, Parts, Range, Sort, SortKey, Text, Time},
    value,
};

pub(super) struct Lowered {
    pub(super) node: Node,
    pub(super) sort: Sort,
    pub(super) notes: Vec<Note>,
}

pub(super) fn lower(expression: Option<&Expression>, context: &ParseContext) -> Lowered {
    let mut lowering = Lowering { context, parts: Parts::ALL, sort: Sort::default(), notes: Vec::new() };
    let Some(expression) = expression else {
        return Lowered { node: Node::All, sort: by_time(Sort::default()), notes: lowering.notes };
    };
    lowering.read_whole_query(expression);
    let node = lowering.expression(expression).unwrap_or(Node::All);
    let sort = if has_words(expression) { lowering.sort } else { by_time(lowering.sort) };
    Lowered { node, sort, notes: lowering.notes }
}

/// The order where nothing is asked in words: then all match equally well.
fn by_time(sort: Sort) -> Sort {
    if sort.key == SortKey::Relevance { Sort { key: SortKey::Created, ..sort } } else { sort }
}

/// Whether words are looked for, and not only left out.
fn has_words(expression: &Expression) -> bool {
    match expression {
        Expression::And(members) | Expression::Or(members) => members.iter().any(has_words),
        Expression::Not(_) => false,
        Expression::Term(term) => !matches!(term.content, Content::Qualifier(..)),
    }
}

struct Lowering<'a> {
    context: &'a ParseContext,
    parts: Parts,
    sort: Sort,
    notes: Vec<Note>,
}

impl Lowering<'_> {
    fn note(&mut self, term: &Term, message: impl Into<String>, suggestion: Option<String>) {
        self.notes.push(Note { column: term.column, message: message.into(), suggestion });
    }

    /// Reads `in:` and `sort:`.
    fn read_whole_query(&mut self, expression: &Expression) {
        let mut parts = Parts::NONE;
        for term in expression.terms() {
            let Content::Qualifier(name, values) = &term.content else { continue };
            for value in values {
                match *name {
                    "in" => match value.text.to_lowercase().as_str() {
                        "title" => parts.title = true,
                        "body" => parts.body = true,
                        "comments" => parts.comments = true,
                        _ => {}
                    },
                    "sort" => self.sort = sort(&value.text).unwrap_or(self.sort),
                    _ => {}
                }
            }
        }
        if parts != Parts::NONE {
            self.parts = parts;
        }
    }

    /// None where nothing is said: an unknown value, `in:`, `sort:`.
    fn expression(&mut self, expression: &Expression) -> Option<Node> {
        match expression {
            Expression::And(members) => self.and(members),
            Expression::Or(members) => one_or(members.iter().filter_map(|member| self.expression(member)), Node::Or),
            Expression::Not(inner) => self.expression(inner).map(|node| Node::Not(Box::new(node))),
            Expression::Term(term) => self.term(term),
        }
    }

    fn and(&mut self, members: &[Expression]) -> Option<Node> {
        let mut places = Vec::new();
        let mut nodes = Vec::new();
        for member in members {
            let is_place = matches!(
                member,
                Expression::Term(Term { content: Content::Qualifier("repo" | "org" | "user", _), .. })
            );
            let node = self.expression(member);
            if is_place { places.extend(node) } else { nodes.extend(node) }
        }
        nodes.extend(one_or(places.into_iter(), Node::Or));
        one_or(nodes.into_iter(), Node::And)
    }

    fn term(&mut self, term: &Term) -> Option<Node> {
        match &term.content {
            Content::Word(word) => Some(self.word(word)),
            Content::Phrase(text) => Some(Node::Text(Text { text: text.clone(), exact: true, parts: self.parts })),
            Content::Qualifier(name, values) => {
                let qualifier = table::find(name).expect("the parser names known qualifiers only");
                let nodes: Vec<_> = values.iter().filter_map(|value| self.value(term, qualifier, value)).collect();
                one_or(nodes.into_iter(), Node::Or)
            }
        }
    }

    /// A bare word is also looked for as what it may be besides: a reference, the beginning of a sha, a path.
    fn word(&self, word: &str) -> Node {
        let lower = word.to_lowercase();
        if let Some(number) = jump::number(word).filter(|_| word.starts_with('#')) {
            let number = number as f64;
            let own = Range { from: Bound::Included(number), to: Bound::Included(number) };
            return Node::Or(vec![Node::Is(Keyword::Reference, lower), Node::Number(Number::Number, own)]);
        }
        let text = Node::Text(Text { text: word.to_owned(), exact: false, parts: self.parts });
        let also = if self.parts != Parts::ALL {
            None
        } else if jump::is_sha(word) {
            Some(Node::Starts(Keyword::Sha, lower))
        } else if word.parse::<gharvest_model::ItemRef>().is_ok() && !word.contains("://") {
            Some(Node::Is(Keyword::Reference, lower))
        } else if word.contains(['/', '.']) {
            Some(Node::Is(Keyword::Path, lower.trim_start_matches("./").to_owned()))
        } else {
            None
        };
        match also {
            Some(also) => Node::Or(vec![text, also]),
            None => text,
        }
    }

    fn value(&mut self, term: &Term, qualifier: &'static Qualifier, value: &Value) -> Option<Node> {
        let at = match &value.as_of {
            None => None,
            Some(date) => Some(self.instant(term, qualifier, date)?),
        };
        if let Values::Fixed(choices) = qualifier.values {
            return self.fixed(term, qualifier, choices, &value.text, at);
        }
        let text = value.text.trim().to_lowercase();
        match qualifier.meaning {
            Meaning::Keyword(keyword) => self.keyword(term, qualifier, keyword, text, at),
            Meaning::Owner => Some(Node::Starts(Keyword::Repository, format!("{}/", text.trim_end_matches('/')))),
            Meaning::Involves => {
                let login = self.login(term, qualifier, &text)?;
                let fields = [Keyword::Author, Keyword::Assignee, Keyword::Mention, Keyword::Commenter];
                Some(Node::Or(fields.into_iter().map(|field| Node::Is(field, login.clone())).collect()))
            }
            Meaning::Sha if text.len() <= 40 && !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Some(Node::Starts(Keyword::Sha, text))
            }
            Meaning::Sha => self.refuse(term, qualifier, "expected the beginning of a commit's sha"),
            Meaning::Time(time) => match value::times(&value.text, self.context.now) {
                Some(range) => Some(Node::Time(time, range)),
                None => self.refuse(term, qualifier, value::EXPECTED_TIME),
            },
            Meaning::Number(number) => match value::numbers(&value.text) {
                Some(range) => Some(Node::Number(number, range)),
                None => self.refuse(term, qualifier, value::EXPECTED_NUMBER),
            },
            Meaning::Hours(number) => match value::hours(&text) {
                Some(range) => Some(Node::Number(number, range)),
                None => self.refuse(term, qualifier, value::EXPECTED_DURATION),
            },
            Meaning::OpenFor => match value::hours(&text).and_then(|range| opened(range, self.context.now)) {
                Some(range) => {
                    Some(Node::And(vec![Node::Is(Keyword::State, "open".into()), Node::Time(Time::Created, range)]))
                }
                None => self.refuse(term, qualifier, value::EXPECTED_DURATION),
            },
            Meaning::Was => self.was(term, &text),
            // Their values are fixed words, looked up above.
            Meaning::Is
            | Meaning::State
            | Meaning::Kind
            | Meaning::YesNo(_)
            | Meaning::Missing
            | Meaning::Linked
            | Meaning::In
            | Meaning::Sort => None,
        }
    }

    fn refuse(&mut self, term: &Term, qualifier: &Qualifier, expected: &str) -> Option<Node> {
        self.note(term, format!("`{}`: {expected}", qualifier.name), Some(qualifier.example.to_owned()));
        None
    }

    fn instant(&mut self, term: &Term, qualifier: &Qualifier, date: &str) -> Option<Timestamp> {
        if !qualifier.as_of {
            let message = format!(
                "`{}:` cannot be asked as of a date; is:, state:, label:, assignee: and milestone: can",
                qualifier.name
            );
            self.note(term, message, None);
            return None;
        }
        let instant = value::last_instant(date, self.context.now);
        if instant.is_none() {
            self.note(term, format!("`@{date}`: {}", value::EXPECTED_DAY), None);
        }
        instant
    }

    fn keyword(
        &mut self,
        term: &Term,
        qualifier: &Qualifier,
        keyword: Keyword,
        text: String,
        at: Option<Timestamp>,
    ) -> Option<Node> {
        let value = match qualifier.values {
            Values::Person => self.login(term, qualifier, &text)?,
            Values::Repository if !text.contains('/') => {
                self.note(term, "expected a repository as OWNER/NAME", Some(format!("org:{text}")));
                return None;
            }
            _ => text,
        };
        Some(match (at, dimension(keyword)) {
            (Some(_), Some(dimension)) => Node::Held(Held { dimension, value, at }),
            _ => Node::Is(keyword, value),
        })
    }

    /// A login: `@me`, `@octocat`, or GitHub's `app/dependabot` for a bot.
    fn login(&mut self, term: &Term, qualifier: &Qualifier, text: &str) -> Option<String> {
        if text == "@me" {
            if self.context.me.is_none() {
                let message = format!("`{}:@me`: nobody is signed in; expected a login", qualifier.name);
                self.note(term, message, Some(qualifier.example.to_owned()));
            }
            return self.context.me.as_ref().map(|me| me.to_lowercase());
        }
        let login = text.strip_prefix('@').unwrap_or(text);
        Some(login.strip_prefix("app/").map_or_else(|| login.to_owned(), |app| format!("{app}[bot]")))
    }

    fn fixed(
        &mut self,
        term: &Term,
        qualifier: &'static Qualifier,
        choices: &'static [Choice],
        text: &str,
        at: Option<Timestamp>,
    ) -> Option<Node> {
        let typed = text.trim().to_lowercase();
        let word = choices.iter().map(|choice| choice.word).find(|word| *word == typed || same_words(word, &typed));
        let Some(word) = word else {
            self.unknown_word(term, qualifier, choices, text);
            return None;
        };
        let node = meaning_of_word(qualifier.meaning, word, at);
        if node.is_none() && at.is_some() {
            self.note(term, format!("`{}:{word}` cannot be asked as of a date", qualifier.name), None);
        }
        node
    }

    fn unknown_word(&mut self, term: &Term, qualifier: &Qualifier, choices: &[Choice], text: &str) {
        let words: Vec<_> = choices.iter().map(|choice| choice.word).filter(|word| !word.ends_with("sc")).collect();
        let listed: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
        let shown: String = text.chars().take(40).collect();
        let message = format!("`{}:` has no `{shown}`; expected {}", qualifier.name, listed.join(", "));
        let nearest = table::nearest(text, choices.iter().map(|choice| choice.word));
        self.note(term, message, nearest.map(|word| spelled(qualifier.name, word)));
    }

    /// `label:bug`, `open`, `is:open`: a condition that was once true.
    fn was(&mut self, term: &Term, text: &str) -> Option<Node> {
        let (name, value) = text.split_once(':').unwrap_or(("is", text));
        let value = value.trim().trim_matches('"');
        let states = ["open", "closed", "merged"];
        let held = |dimension, value: &str| Some(Node::Held(Held { dimension, value: value.to_owned(), at: None }));
        match (name, value) {
            (_, "") => {}
            ("is" | "state", "closed") => return was_closed(None),
            ("is" | "state", state) if states.contains(&state) => return held("state", state),
            ("is", "draft") => return held("draft", "true"),
            ("is", "locked") => return held("locked", "true"),
            ("label", label) => return held("label", label),
            ("assignee", login) => return held("assignee", &self.login(term, table::find("assignee")?, login)?),
            ("milestone", title) => return held("milestone", title),
            ("title", title) => return held("title", title),
            _ => {}
        }
        let expected =
            "expected `open`, `closed`, `merged`, `draft`, `locked`, `label:`, `assignee:`, `milestone:` or `title:`";
        self.note(term, format!("`was:`: {expected}"), Some("was:label:bug".into()));
        None
    }
}

/// One node as it is, several in a group, none for none.
fn one_or(nodes: impl Iterator<Item = Node>, group: impl Fn(Vec<Node>) -> Node) -> Option<Node> {
    let mut nodes: Vec<_> = nodes.collect();
    if nodes.len() > 1 { Some(group(nodes)) } else { nodes.pop() }
}

/// A qualifier with a value as it is typed.
pub(super) fn spelled(qualifier: &str, value: &str) -> String {
    let bare = !value.is_empty() && value.chars().all(|c| c.is_alphanumeric() || "-_./#+:*<>=[]".contains(c));
    if bare { format!("{qualifier}:{value}") } else { format!("{qualifier}:{}", quote(value)) }
}

/// `not planned`, `not_planned` and `not-planned` are one word.
fn same_words(known: &str, typed: &str) -> bool {
    known.contains([' ', '_']) && known.replace('_', " ") == typed.replace(['_', '-'], " ")
}

fn dimension(keyword: Keyword) -> Option<&'static str> {
    match keyword {
        Keyword::Label => Some("label"),
        Keyword::Assignee => Some("assignee"),
        Keyword::Milestone => Some("milestone"),
        _ => None,
    }
}

fn sort(text: &str) -> Option<Sort> {
    let text = text.to_lowercase();
    let (word, ascending) = match text.strip_suffix("-asc") {
        Some(word) => (word, true),
        None => (text.strip_suffix("-desc").unwrap_or(&text), false),
    };
    let (_, key) = SORTS.iter().find(|(choice, _)| choice.word == word)?;
    Some(Sort { key: *key, ascending })
}

/// When an item was opened that is so old now.
fn opened(age: Range<f64>, now: Timestamp) -> Option<Range<Timestamp>> {
    let ago = |hours: f64| now.checked_sub(SignedDuration::from_secs((hours * 3600.0) as i64)).ok();
    let turn = |end: Bound<f64>| {
        Some(match end {
            Bound::Included(hours) => Bound::Included(ago(hours)?),
            Bound::Excluded(hours) => Bound::Excluded(ago(hours)?),
            Bound::Unbounded => Bound::Unbounded,
        })
    };
    Some(Range { from: turn(age.to)?, to: turn(age.from)? })
}

fn is(keyword: Keyword, value: &str) -> Node {
    Node::Is(keyword, value.to_owned())
}

fn not(node: Node) -> Node {
    Node::Not(Box::new(node))
}

fn was_closed(at: Option<Timestamp>) -> Option<Node> {
    let held = |value: &str| Node::Held(Held { dimension: "state", value: value.into(), at });
    Some(Node::Or(vec![held("closed"), held("merged")]))
}

/// What a word of a fixed set says; none where it cannot be asked, or says nothing by itself.
fn meaning_of_word(meaning: Meaning, word: &'static str, at: Option<Timestamp>) -> Option<Node> {
    if at.is_some() {
        let held = |dimension, value: &str| Some(Node::Held(Held { dimension, value: value.into(), at }));
        return match (meaning, word) {
            (Meaning::Is | Meaning::State, "closed") => was_closed(at),
            (Meaning::Is | Meaning::State, "open" | "merged") => held("state", word),
            (Meaning::Is, "draft") => held("draft", "true"),
            (Meaning::Is, "locked") => held("locked", "true"),
            _ => None,
        };
    }
    Some(match (meaning, word) {
        (Meaning::Is | Meaning::State, "closed") => {
            Node::Or(vec![is(Keyword::State, "closed"), is(Keyword::State, "merged")])
        }
        (Meaning::Is | Meaning::State, "open" | "merged") => is(Keyword::State, word),
        (Meaning::Is, "unmerged") => {
            Node::And(vec![is(Keyword::Kind, "pull_request"), not(is(Keyword::State, "merged"))])
        }
        (Meaning::Is, "draft") => Node::Flag(Flag::Draft),
        (Meaning::Is, "locked") => Node::Flag(Flag::Locked),
        (Meaning::Is, "unlocked") => not(Node::Flag(Flag::Locked)),
        (Meaning::Is, "private") => Node::Flag(Flag::Private),
        (Meaning::Is, "public") => not(Node::Flag(Flag::Private)),
        (Meaning::Is | Meaning::Kind, "issue") => is(Keyword::Kind, "issue"),
        (Meaning::Is | Meaning::Kind, "pr") => is(Keyword::Kind, "pull_request"),
        (Meaning::Keyword(Keyword::Reason), word) => Node::Is(Keyword::Reason, word.replace(' ', "_")),
        (Meaning::Keyword(keyword), word) => is(keyword, word),
        (Meaning::YesNo(flag), "true") => Node::Flag(flag),
        (Meaning::YesNo(flag), _) => not(Node::Flag(flag)),
        (Meaning::Missing, "label") => not(Node::Any(Keyword::Label)),
        (Meaning::Missing, "assignee") => not(Node::Any(Keyword::Assignee)),
        (Meaning::Missing, "milestone") => not(Node::Any(Keyword::Milestone)),
        (Meaning::Linked, "pr") => Node::And(vec![is(Keyword::Kind, "issue"), Node::Flag(Flag::Linked)]),
        (Meaning::Linked, "issue") => Node::And(vec![is(Keyword::Kind, "pull_request"), Node::Flag(Flag::Linked)]),
        _ => return None,
    })
}
