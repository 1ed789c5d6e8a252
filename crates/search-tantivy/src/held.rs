//! "Was it true then?": a query over the spans beside an item.

use std::fmt;

use gharvest_search::query::tree::Held;
use tantivy::{
    DocId, DocSet, Score, SegmentReader, TERMINATED, Term,
    columnar::Column,
    query::{EnableScoring, Explanation, Query, Scorer, TermQuery, Weight},
    schema::IndexRecordOption,
};

use crate::schema::{Fields, span_hash, span_term};

/// Items for which something held at an instant. Those for which it ever held come from a term; the spans' times then
/// decide.
#[derive(Clone)]
pub(crate) struct HeldAt {
    ever: TermQuery,
    hash: u64,
    /// Microseconds since 1970.
    at: i64,
}

/// The query for something that held, at an instant or ever.
pub(crate) fn query(held: &Held, fields: &Fields) -> Box<dyn Query> {
    let term = span_term(held.dimension, &held.value);
    let ever = TermQuery::new(Term::from_field_text(fields.spans, &term), IndexRecordOption::Basic);
    match held.at {
        None => Box::new(ever),
        Some(at) => Box::new(HeldAt { ever, hash: span_hash(&term), at: at.as_microsecond() }),
    }
}

impl fmt::Debug for HeldAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldAt").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Query for HeldAt {
    fn weight(&self, scoring: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        let EnableScoring::Disabled { .. } = scoring else {
            // A condition has no score of its own.
            let searcher = scoring.searcher().expect("scoring has a searcher");
            return self.weight(EnableScoring::disabled_from_searcher(searcher));
        };
        Ok(Box::new(HeldWeight { ever: self.ever.weight(scoring)?, hash: self.hash, at: self.at }))
    }
}

struct HeldWeight {
    ever: Box<dyn Weight>,
    hash: u64,
    at: i64,
}

impl Weight for HeldWeight {
    fn scorer(&self, segment: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        let columns = segment.fast_fields();
        let mut scorer = HeldScorer {
            ever: self.ever.scorer(segment, boost)?,
            hashes: columns.u64("span_hash")?,
            from: columns.i64("span_from")?,
            to: columns.i64("span_to")?,
            hash: self.hash,
            at: self.at,
        };
        scorer.settle();
        Ok(Box::new(scorer))
    }

    fn explain(&self, segment: &SegmentReader, doc: DocId) -> tantivy::Result<Explanation> {
        self.ever.explain(segment, doc)
    }
}

struct HeldScorer {
    ever: Box<dyn Scorer>,
    hashes: Column<u64>,
    from: Column<i64>,
    to: Column<i64>,
    hash: u64,
    at: i64,
}

impl HeldScorer {
    fn holds(&self, doc: DocId) -> bool {
        let times = self.from.values_for_doc(doc).zip(self.to.values_for_doc(doc));
        let mut spans = self.hashes.values_for_doc(doc).zip(times);
        spans.any(|(hash, (from, to))| hash == self.hash && from <= self.at && self.at < to)
    }

    /// Moves on to a document for which it holds, unless it stands on one.
    fn settle(&mut self) -> DocId {
        let mut doc = self.ever.doc();
        while doc != TERMINATED && !self.holds(doc) {
            doc = self.ever.advance();
        }
        doc
    }
}

impl DocSet for HeldScorer {
    fn advance(&mut self) -> DocId {
        self.ever.advance();
        self.settle()
    }

    fn seek(&mut self, target: DocId) -> DocId {
        self.ever.seek(target);
        self.settle()
    }

    fn doc(&self) -> DocId {
        self.ever.doc()
    }

    fn size_hint(&self) -> u32 {
        self.ever.size_hint()
    }
}

impl Scorer for HeldScorer {
    fn score(&mut self) -> Score {
        1.0
    }
}
