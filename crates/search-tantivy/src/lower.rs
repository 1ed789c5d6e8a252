//! From the query tree to tantivy's queries.
//!
//! Only words have a score; conditions are wrapped so that they add none. A word counts most where it stands in the
//! title, less in the body, least in comments, and more where it was typed as the whole identifier that stands there.

use std::ops::Bound;

use gharvest_model::RepositoryId;
use gharvest_search::{
    Access,
    marks::{exact_title, whole_text},
    query::tree::{Keyword, Node, Range, Text},
    tokens::{self, Token},
};
use jiff::Timestamp;
use tantivy::{
    Term,
    query::{
        BooleanQuery, BoostQuery, ConstScoreQuery, EmptyQuery, InvertedIndexRangeQuery, Occur, PhraseQuery, Query,
        RangeQuery, TermQuery, TermSetQuery,
    },
    schema::{Field, IndexRecordOption},
};

use crate::{
    excluded::Excluded,
    held,
    schema::{Fields, PUBLIC, any_term, flag_term, kind, private_term},
};

/// What a word is worth in each place: (words, identifier).
const TITLE: (f32, f32) = (4.0, 6.0);
const BODY: (f32, f32) = (1.0, 2.0);
const COMMENTS: (f32, f32) = (0.4, 0.8);
/// What it is worth that the words are the whole title: more than any sum of the above.
const EXACT_TITLE: f32 = 200.0;

/// Lowers trees against one index.
pub(crate) struct Lowering<'a> {
    pub(crate) fields: &'a Fields,
}

impl Lowering<'_> {
    /// A whole search: the tree, what the caller may see, and the bonus for an exact title.
    pub(crate) fn search(&self, node: &Node, access: &Access) -> Box<dyn Query> {
        let mut clauses = vec![(Occur::Must, self.visible(access)), (Occur::Must, self.node(node))];
        let words = exact_title(&whole_text(node));
        if !words.is_empty() {
            let title = self.term(self.fields.title_exact, &words);
            clauses.push((Occur::Should, Box::new(ConstScoreQuery::new(title, EXACT_TITLE))));
        }
        Box::new(BooleanQuery::new(clauses))
    }

    /// Items that the caller may see: no tombstones, no other documents.
    pub(crate) fn visible(&self, access: &Access) -> Box<dyn Query> {
        let visibility = |term: &str| Term::from_field_text(self.fields.visibility, term);
        condition(match access {
            Access::All => self.items(),
            Access::Public => self.term(self.fields.visibility, PUBLIC),
            Access::Some { and, except } => {
                let private = and.iter().map(|repository: &RepositoryId| visibility(&private_term(*repository)));
                let shown = TermSetQuery::new(std::iter::once(visibility(PUBLIC)).chain(private));
                match except.as_slice() {
                    [] => Box::new(shown),
                    except => Box::new(BooleanQuery::new(vec![
                        (Occur::Must, Box::new(shown)),
                        (Occur::MustNot, Box::new(self.of_repositories(except))),
                    ])),
                }
            }
        })
    }

    fn of_repositories(&self, repositories: &[RepositoryId]) -> TermSetQuery {
        TermSetQuery::new(repositories.iter().map(|id| Term::from_field_u64(self.fields.repository_id, id.0)))
    }

    fn items(&self) -> Box<dyn Query> {
        self.term(self.fields.kind, kind::ITEM)
    }

    pub(crate) fn term(&self, field: Field, text: &str) -> Box<dyn Query> {
        Box::new(TermQuery::new(Term::from_field_text(field, text), IndexRecordOption::Basic))
    }

    pub(crate) fn node(&self, node: &Node) -> Box<dyn Query> {
        match node {
            Node::All => condition(self.items()),
            Node::Nothing => Box::new(EmptyQuery),
            Node::And(members) => self.group(Occur::Must, members),
            Node::Or(members) if members.is_empty() => Box::new(EmptyQuery),
            Node::Or(members) => self.group(Occur::Should, members),
            Node::Not(inner) => condition(Box::new(BooleanQuery::new(vec![
                (Occur::Must, self.items()),
                (Occur::MustNot, Box::new(Excluded(self.node(inner)))),
            ]))),
            Node::Text(text) => self.text(text),
            Node::Is(keyword, value) => condition(self.term(self.fields.keyword(*keyword), value)),
            Node::Starts(keyword, prefix) => condition(self.prefix(self.fields.keyword(*keyword), prefix)),
            Node::Any(keyword) => condition(self.any(*keyword)),
            Node::Flag(flag) => condition(self.term(self.fields.flags, flag_term(*flag))),
            Node::Number(number, range) => {
                let field = self.fields.number(*number);
                condition(between(range, f64::MIN, |value| Term::from_field_f64(field, *value)))
            }
            Node::Time(time, range) => {
                let field = self.fields.time(*time);
                let term = |at: &Timestamp| Term::from_field_i64(field, at.as_microsecond());
                condition(between(range, Timestamp::MIN, term))
            }
            Node::Held(asked) => condition(held::query(asked, self.fields)),
        }
    }

    fn any(&self, keyword: Keyword) -> Box<dyn Query> {
        self.term(self.fields.flags, &any_term(keyword))
    }

    fn group(&self, occur: Occur, members: &[Node]) -> Box<dyn Query> {
        let clauses = members.iter().map(|member| (occur, self.node(member))).collect::<Vec<_>>();
        if clauses.is_empty() { condition(self.items()) } else { Box::new(BooleanQuery::new(clauses)) }
    }

    /// Values that begin so.
    pub(crate) fn prefix(&self, field: Field, prefix: &str) -> Box<dyn Query> {
        let from = Bound::Included(Term::from_field_text(field, prefix));
        let to = Bound::Excluded(Term::from_field_text(field, &format!("{prefix}{}", char::MAX)));
        Box::new(InvertedIndexRangeQuery::new(from, to))
    }

    fn text(&self, text: &Text) -> Box<dyn Query> {
        let fields = self.fields;
        let words: Vec<_> = tokens::words(&text.text).collect();
        let identifier = if text.exact { None } else { tokens::ident(&text.text).next() };
        if words.is_empty() && identifier.is_none() {
            return condition(self.items());
        }
        let places = [
            (text.parts.title, fields.title, fields.title_identifiers, TITLE),
            (text.parts.body, fields.body, fields.body_identifiers, BODY),
            (text.parts.comments, fields.comments, fields.comments_identifiers, COMMENTS),
        ];
        let mut clauses: Vec<(Occur, Box<dyn Query>)> = Vec::new();
        for (_, words_field, identifiers_field, (words_boost, identifier_boost)) in
            places.into_iter().filter(|(asked, ..)| *asked)
        {
            if !words.is_empty() {
                clauses.push((Occur::Should, boosted(consecutive(words_field, &words), words_boost)));
            }
            if let Some(identifier) = &identifier {
                let whole = self.term(identifiers_field, &identifier.text);
                clauses.push((Occur::Should, boosted(whole, identifier_boost)));
            }
        }
        Box::new(BooleanQuery::new(clauses))
    }
}

/// A condition that adds nothing to the score.
fn condition(query: Box<dyn Query>) -> Box<dyn Query> {
    Box::new(ConstScoreQuery::new(query, 0.0))
}

fn boosted(query: Box<dyn Query>, boost: f32) -> Box<dyn Query> {
    Box::new(BoostQuery::new(query, boost))
}

/// Words one after another; one that is too long to be indexed may stand between them.
pub(crate) fn consecutive(field: Field, words: &[Token]) -> Box<dyn Query> {
    let term = |word: &Token| Term::from_field_text(field, &word.text);
    match words {
        [word] => Box::new(TermQuery::new(term(word), IndexRecordOption::WithFreqs)),
        _ => {
            let terms = words.iter().map(|word| (word.position as usize, term(word)));
            Box::new(PhraseQuery::new_with_offset(terms.collect()))
        }
    }
}

/// Values between bounds; without bounds, whatever has a value: from the least one.
fn between<T>(range: &Range<T>, least: T, term: impl Fn(&T) -> Term) -> Box<dyn Query> {
    let bound = |bound: &Bound<T>| match bound {
        Bound::Included(value) => Bound::Included(term(value)),
        Bound::Excluded(value) => Bound::Excluded(term(value)),
        Bound::Unbounded => Bound::Unbounded,
    };
    match (bound(&range.from), bound(&range.to)) {
        (Bound::Unbounded, Bound::Unbounded) => {
            Box::new(RangeQuery::new(Bound::Included(term(&least)), Bound::Unbounded))
        }
        (from, to) => Box::new(RangeQuery::new(from, to)),
    }
}
