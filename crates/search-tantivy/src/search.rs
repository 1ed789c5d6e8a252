//! A search: one pass over the items that match, which counts them, keeps the best, and counts facets.
//!
//! The order is by (sort value, ordinal of the item), both the larger first, and for ascending sorts the value is
//! negated: so ties stand in one order in every answer, and a cursor is the last pair that was shown. By relevance
//! the value is the score: tantivy's BM25 of the words (see `lower`), times what recency and discussion add (see
//! [`Liveliness`]).

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    ops::Range,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use gharvest_search::{
    Error, ErrorKind, Facet, FacetCounts, FacetValue, Hit, Result, SearchReply, SearchRequest, Start,
    document::ItemDocument,
    query::tree::{Keyword, Number, Sort, SortKey, Time},
};
use jiff::{Timestamp, tz::TimeZone};
use tantivy::{
    DocAddress, DocId, Searcher, SegmentReader, TERMINATED, Term,
    columnar::{Column, StrColumn},
    query::{Bm25StatisticsProvider, EnableScoring, Query},
    schema::{Field, Value},
};

use crate::{
    error::{corrupt, from_tantivy},
    lower::Lowering,
    schema::{Fields, counted_name, number_name, time_name},
    snippet,
};

/// The last hit that a page for people may hold.
const LAST_PAGED_HIT: usize = 10_000;
/// The most hits of a page.
const LARGEST_PAGE: usize = 100;
/// The most values of a facet, months apart.
const MOST_VALUES: usize = 20;
/// The most numbers that a cursor keeps: those of some twenty words.
const MOST_STATISTICS: usize = 250;
/// After how many documents the clock is looked at.
const CHECK_EVERY: u32 = 1024;

/// Where a hit stands in the order.
type Rank = (i64, u64);

/// A cursor: the rank of the last hit shown, and what scores of later pages need to be those of the first: the day from
/// which recency is measured, and the statistics of the words.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cursor {
    rank: Rank,
    day: i64,
    statistics: Vec<u64>,
}

impl Cursor {
    fn print(&self) -> String {
        let statistics: Vec<String> = self.statistics.iter().map(|number| format!(".{number:x}")).collect();
        format!("{:x}.{:x}.{:x}{}", self.rank.0 as u64, self.rank.1, self.day as u64, statistics.concat())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| u64::from_str_radix(part, 16).ok());
        let (value, item, day) = (parts.next()??, parts.next()??, parts.next()??);
        let statistics: Vec<u64> = parts.collect::<Option<_>>()?;
        let fits = statistics.len() <= MOST_STATISTICS;
        fits.then_some(Self { rank: (value as i64, item), day: day as i64, statistics })
    }
}

/// How many words there are, and in how many documents: as the index says, or as it said to the first page. A query asks
/// for its numbers in the same order at each page, so they need no names.
struct Statistics<'a> {
    searcher: &'a Searcher,
    first_page: &'a [u64],
    asked: Mutex<Vec<u64>>,
}

impl<'a> Statistics<'a> {
    fn new(searcher: &'a Searcher, first_page: &'a [u64]) -> Self {
        Self { searcher, first_page, asked: Mutex::default() }
    }

    fn answer(&self, now: impl FnOnce() -> tantivy::Result<u64>) -> tantivy::Result<u64> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.first_page.get(asked.len()).copied().map_or_else(now, Ok)?;
        asked.push(number);
        Ok(number)
    }

    /// What the next page's cursor keeps; a query of very many words keeps nothing.
    fn into_numbers(self) -> Vec<u64> {
        let numbers = self.asked.into_inner().unwrap_or_else(PoisonError::into_inner);
        if numbers.len() <= MOST_STATISTICS { numbers } else { Vec::new() }
    }
}

impl Bm25StatisticsProvider for Statistics<'_> {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        self.answer(|| self.searcher.total_num_tokens(field))
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        self.answer(|| self.searcher.total_num_docs())
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        self.answer(|| Bm25StatisticsProvider::doc_freq(self.searcher, term))
    }
}

/// Answers a search.
pub(crate) fn search(searcher: &Searcher, fields: &Fields, request: &SearchRequest) -> Result<SearchReply> {
    let deadline = Instant::now() + request.timeout;
    let query = Lowering { fields }.search(request.query.node(), &request.access);
    let per_page = request.per_page.clamp(1, LARGEST_PAGE);
    let today = request.query.now().as_second().div_euclid(86_400);
    let (skip, after, day, first_page) = match &request.start {
        Start::Page(page) => (page.saturating_sub(1).saturating_mul(per_page), None, today, Vec::new()),
        Start::Cursor(text) => {
            let cursor = Cursor::parse(text).ok_or_else(|| {
                Error::new(ErrorKind::Invalid, "search", "the cursor is not one of ours; begin again without it")
            })?;
            (0, Some(cursor.rank), cursor.day, cursor.statistics)
        }
    };
    let statistics = Statistics::new(searcher, &first_page);
    // Beyond what people page through there are no hits, and the rest of the answer stays.
    let end = if skip >= LAST_PAGED_HIT { 0 } else { (skip + per_page).min(LAST_PAGED_HIT) };
    let mut pass = Pass::new(request, after, end + 1, day, deadline);
    pass.run(searcher, query.as_ref(), &statistics)?;
    reply(searcher, fields, request, pass, statistics.into_numbers(), skip..end)
}

fn reply(
    searcher: &Searcher,
    fields: &Fields,
    request: &SearchRequest,
    pass: Pass<'_>,
    statistics: Vec<u64>,
    shown: Range<usize>,
) -> Result<SearchReply> {
    let (day, total, facets) = (pass.day, pass.total, pass.facets);
    let ranked = pass.best.into_sorted_vec();
    let page: Vec<_> = ranked.iter().map(|Reverse(hit)| *hit).take(shown.end).skip(shown.start).collect();
    let next = match page.last() {
        Some((rank, _)) if ranked.len() > shown.end => Some(Cursor { rank: *rank, day, statistics }.print()),
        _ => None,
    };
    let by_relevance = request.query.sort().key == SortKey::Relevance;
    let mut hits = Vec::with_capacity(page.len());
    for ((value, _), address) in &page {
        let score = if by_relevance { f32::from_bits(value.unsigned_abs() as u32) } else { 0.0 };
        hits.push(Hit { item: item(searcher, fields, *address)?, score, snippet: None });
    }
    if request.snippets {
        snippet::add(searcher, fields, request.query.node(), &mut hits)?;
    }
    let facets = request.facets.iter().map(|facet| facets.counts(*facet)).collect();
    Ok(SearchReply { total, hits, facets, next })
}

/// A stored document's JSON.
pub(crate) fn json(searcher: &Searcher, fields: &Fields, address: DocAddress) -> Result<String> {
    let document: tantivy::TantivyDocument = searcher.doc(address).map_err(from_tantivy("read"))?;
    let json = document.get_first(fields.json).and_then(|value| value.as_str().map(str::to_owned));
    json.ok_or_else(|| corrupt("read", "a document without its JSON"))
}

/// A stored item.
pub(crate) fn item(searcher: &Searcher, fields: &Fields, address: DocAddress) -> Result<ItemDocument> {
    let json = json(searcher, fields, address)?;
    serde_json::from_str(&json).map_err(|error| corrupt("read", format!("a stored item: {error}")))
}

/// The addresses of everything that matches and is alive.
pub(crate) fn addresses(searcher: &Searcher, query: &dyn Query) -> Result<Vec<DocAddress>> {
    let weight = query.weight(EnableScoring::disabled_from_searcher(searcher)).map_err(from_tantivy("read"))?;
    let mut found = Vec::new();
    for (segment_ord, segment) in (0_u32..).zip(searcher.segment_readers()) {
        let alive = segment.alive_bitset();
        let mut add = |doc, _score| {
            if alive.is_none_or(|alive| alive.is_alive(doc)) {
                found.push(DocAddress::new(segment_ord, doc));
            }
        };
        weight.for_each(segment, &mut add).map_err(from_tantivy("read"))?;
    }
    Ok(found)
}

fn check(deadline: Instant) -> Result<()> {
    if Instant::now() >= deadline {
        return Err(Error::new(ErrorKind::TimedOut, "search", "the search took longer than allowed; ask for less"));
    }
    Ok(())
}

/// What recency and discussion add to a score: up to half as much again for an item updated today, half of that for
/// one of a year ago; and a tenth for each e-fold of comments and reactions.
struct Liveliness {
    updated: Column<i64>,
    interactions: Column<f64>,
    /// Days since 1970.
    day: i64,
}

impl Liveliness {
    fn open(segment: &SegmentReader, day: i64) -> tantivy::Result<Self> {
        let columns = segment.fast_fields();
        let updated = columns.i64(&time_name(Time::Updated))?;
        let interactions = columns.f64(&number_name(Number::Interactions))?;
        Ok(Self { updated, interactions, day })
    }

    fn factor(&self, doc: DocId) -> f32 {
        let updated = self.updated.first(doc).unwrap_or(0).div_euclid(86_400_000_000);
        let days = (self.day - updated).max(0) as f32;
        let interactions = self.interactions.first(doc).unwrap_or(0.0) as f32;
        1.0 + 0.5 * (-days / 365.0).exp2() + 0.1 * interactions.ln_1p()
    }
}

/// What a segment's documents are sorted by.
enum Values {
    Score(Liveliness),
    Time(Column<i64>),
    Number(Column<f64>),
}

impl Values {
    fn open(segment: &SegmentReader, key: SortKey, day: i64) -> tantivy::Result<Self> {
        let time = |time| segment.fast_fields().i64(&time_name(time)).map(Self::Time);
        let number = |number| segment.fast_fields().f64(&number_name(number)).map(Self::Number);
        match key {
            SortKey::Relevance => Liveliness::open(segment, day).map(Self::Score),
            SortKey::Created => time(Time::Created),
            SortKey::Updated => time(Time::Updated),
            SortKey::Comments => number(Number::Comments),
            SortKey::Reactions => number(Number::Reactions),
            SortKey::Interactions => number(Number::Interactions),
        }
    }

    fn of(&self, doc: DocId, score: f32) -> i64 {
        match self {
            // Bits of floats that are not negative stand in the order of the floats.
            Self::Score(liveliness) => i64::from((score.max(0.0) * liveliness.factor(doc)).to_bits()),
            Self::Time(column) => column.first(doc).unwrap_or(i64::MIN + 1),
            Self::Number(column) => column.first(doc).unwrap_or(0.0) as i64,
        }
    }
}

/// One pass over what matches.
struct Pass<'a> {
    sort: Sort,
    after: Option<Rank>,
    keep: usize,
    day: i64,
    deadline: Instant,
    total: u64,
    best: BinaryHeap<Reverse<(Rank, DocAddress)>>,
    facets: Facets,
    request: &'a SearchRequest,
}

impl<'a> Pass<'a> {
    fn new(request: &'a SearchRequest, after: Option<Rank>, keep: usize, day: i64, deadline: Instant) -> Self {
        let sort = request.query.sort();
        let (facets, best) = (Facets::default(), BinaryHeap::new());
        Self { sort, after, keep, day, deadline, total: 0, best, facets, request }
    }

    fn run(&mut self, searcher: &Searcher, query: &dyn Query, statistics: &Statistics<'_>) -> Result<()> {
        let scoring = self.sort.key == SortKey::Relevance;
        let weight = if scoring {
            query.weight(EnableScoring::enabled_from_statistics_provider(statistics, searcher))
        } else {
            query.weight(EnableScoring::disabled_from_searcher(searcher))
        }
        .map_err(from_tantivy("search"))?;
        for (segment_ord, segment) in (0_u32..).zip(searcher.segment_readers()) {
            check(self.deadline)?;
            let mut scorer = weight.scorer(segment, 1.0).map_err(from_tantivy("search"))?;
            let mut visitor = Visitor::open(self, segment, segment_ord).map_err(from_tantivy("search"))?;
            let alive = segment.alive_bitset();
            let mut seen = 0_u32;
            let mut doc = scorer.doc();
            while doc != TERMINATED {
                if alive.is_none_or(|alive| alive.is_alive(doc)) {
                    let score = if scoring { scorer.score() } else { 0.0 };
                    visitor.visit(doc, score);
                }
                seen += 1;
                if seen.is_multiple_of(CHECK_EVERY) {
                    check(visitor.pass.deadline)?;
                }
                doc = scorer.advance();
            }
            visitor.finish().map_err(|error| corrupt("search", error))?;
        }
        Ok(())
    }

    fn offer(&mut self, rank: Rank, address: DocAddress) {
        if self.after.is_some_and(|after| rank >= after) {
            return;
        }
        if self.best.len() < self.keep {
            self.best.push(Reverse((rank, address)));
        } else if self.best.peek().is_some_and(|Reverse((worst, _))| rank > *worst) {
            self.best.pop();
            self.best.push(Reverse((rank, address)));
        }
    }
}

/// A pass over one segment.
struct Visitor<'p, 'a> {
    pass: &'p mut Pass<'a>,
    segment_ord: u32,
    values: Values,
    items: Column<u64>,
    counters: Vec<(Facet, StrColumn, Vec<u32>)>,
    created: Option<Column<i64>>,
    closed: Option<Column<i64>>,
}

impl<'p, 'a> Visitor<'p, 'a> {
    fn open(pass: &'p mut Pass<'a>, segment: &SegmentReader, segment_ord: u32) -> tantivy::Result<Self> {
        let columns = segment.fast_fields();
        let asked = &pass.request.facets;
        let mut counters = Vec::new();
        for facet in asked {
            let Some(keyword) = counted_by(*facet) else { continue };
            if let Some(column) = columns.str(&counted_name(keyword))? {
                let counts = vec![0; column.num_terms()];
                counters.push((*facet, column, counts));
            }
        }
        let months = asked.contains(&Facet::Month);
        let created = (months || asked.contains(&Facet::Year)).then(|| columns.i64(&time_name(Time::Created)));
        let closed = months.then(|| columns.i64(&time_name(Time::Closed)));
        Ok(Self {
            values: Values::open(segment, pass.sort.key, pass.day)?,
            items: columns.u64("item")?,
            created: created.transpose()?,
            closed: closed.transpose()?,
            pass,
            segment_ord,
            counters,
        })
    }

    fn visit(&mut self, doc: DocId, score: f32) {
        self.pass.total += 1;
        let value = self.values.of(doc, score);
        let value = if self.pass.sort.ascending { -value } else { value };
        let item = self.items.first(doc).unwrap_or(0);
        self.pass.offer((value, item), DocAddress::new(self.segment_ord, doc));
        for (_, column, counts) in &mut self.counters {
            for ord in column.term_ords(doc) {
                counts[ord as usize] += 1;
            }
        }
        if let Some(at) = self.created.as_ref().and_then(|column| column.first(doc)) {
            self.pass.facets.opened.add(at);
        }
        if let Some(at) = self.closed.as_ref().and_then(|column| column.first(doc)) {
            self.pass.facets.closed.add(at);
        }
    }

    /// Adds the segment's counts to those of the others. Names are read in the order of the dictionary, because each
    /// one by itself would be read from the beginning of its block.
    fn finish(self) -> std::io::Result<()> {
        for (facet, column, counts) in self.counters {
            let (ords, counts): (Vec<u64>, Vec<u32>) = (0_u64..).zip(counts).filter(|(_, count)| *count > 0).unzip();
            let total = self.pass.facets.values.entry(facet).or_default();
            let mut counts = counts.into_iter();
            column.dictionary().sorted_ords_to_term_cb(&ords, |name| {
                let count = u64::from(counts.next().unwrap_or(0));
                match std::str::from_utf8(name).ok().and_then(|name| total.get_mut(name)) {
                    Some(total) => *total += count,
                    None => {
                        total.insert(String::from_utf8_lossy(name).into_owned(), count);
                    }
                }
            })?;
        }
        Ok(())
    }
}

fn counted_by(facet: Facet) -> Option<Keyword> {
    Some(match facet {
        Facet::Repository => Keyword::Repository,
        Facet::Kind => Keyword::Kind,
        Facet::State => Keyword::State,
        Facet::Label => Keyword::Label,
        Facet::Author => Keyword::Author,
        Facet::Milestone => Keyword::Milestone,
        Facet::Year | Facet::Month => return None,
    })
}

/// How many days from 1970 are told apart: to 2149. What GitHub has lies between.
const DAYS: usize = 1 << 16;

/// Counts by day, because a day is quicker to know than a month.
#[derive(Default)]
struct Days(Vec<u64>);

impl Days {
    /// Counts a time in microseconds since 1970.
    fn add(&mut self, at: i64) {
        let day = usize::try_from(at.div_euclid(86_400_000_000)).unwrap_or(0).min(DAYS - 1);
        if self.0.len() <= day {
            self.0.resize(day + 1, 0);
        }
        self.0[day] += 1;
    }

    /// Counts by the first characters of the days.
    fn periods(&self, prefix: &str, length: usize) -> HashMap<String, u64> {
        let mut counts = HashMap::new();
        for (day, count) in (0_i64..).zip(&self.0).filter(|(_, count)| **count > 0) {
            let Ok(at) = Timestamp::from_second(day * 86_400) else { continue };
            let date = at.to_zoned(TimeZone::UTC).date().to_string();
            let period = date.get(..length).unwrap_or(&date);
            *counts.entry(format!("{prefix}{period}")).or_default() += count;
        }
        counts
    }
}

/// Counts of all segments.
#[derive(Default)]
struct Facets {
    values: HashMap<Facet, HashMap<String, u64>>,
    opened: Days,
    closed: Days,
}

impl Facets {
    fn counts(&self, facet: Facet) -> FacetCounts {
        let counted = self.values.get(&facet);
        let values =
            match facet {
                Facet::Year => latest_first(self.opened.periods("", 4), MOST_VALUES),
                Facet::Month => {
                    let mut months = self.opened.periods("opened:", 7);
                    months.extend(self.closed.periods("closed:", 7));
                    latest_first(months, usize::MAX)
                }
                Facet::Kind => most_frequent_first(counted.into_iter().flatten().map(|(kind, count)| {
                    (if kind == "pull_request" { "pr".to_owned() } else { kind.clone() }, *count)
                })),
                Facet::State => most_frequent_first(states(counted)),
                _ => most_frequent_first(counted.into_iter().flatten().map(|(value, count)| (value.clone(), *count))),
            };
        FacetCounts { facet, values }
    }
}

/// As `is:closed` finds merged ones as well, so does its count.
fn states(counted: Option<&HashMap<String, u64>>) -> impl Iterator<Item = (String, u64)> {
    let count = |state: &str| counted.and_then(|counts| counts.get(state)).copied().unwrap_or(0);
    let (open, closed, merged) = (count("open"), count("closed"), count("merged"));
    let counts = [("open", open), ("closed", closed + merged), ("merged", merged)];
    counts.into_iter().filter(|(_, count)| *count > 0).map(|(state, count)| (state.to_owned(), count))
}

fn most_frequent_first(values: impl Iterator<Item = (String, u64)>) -> Vec<FacetValue> {
    let mut values: Vec<_> = values.map(|(value, count)| FacetValue { value, count }).collect();
    values.sort_by(|one, other| (Reverse(one.count), &one.value).cmp(&(Reverse(other.count), &other.value)));
    values.truncate(MOST_VALUES);
    values
}

/// By what follows a colon, if there is one, then by the whole.
fn latest_first(values: HashMap<String, u64>, most: usize) -> Vec<FacetValue> {
    let period =
        |value: &FacetValue| value.value.rsplit_once(':').map_or(value.value.clone(), |(_, period)| period.into());
    let mut values: Vec<_> = values.into_iter().map(|(value, count)| FacetValue { value, count }).collect();
    values.sort_by(|one, other| (period(other), &other.value).cmp(&(period(one), &one.value)));
    values.truncate(most);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_printing_and_others_are_refused() {
        let cursor = |rank, day, statistics: &[u64]| Cursor { rank, day, statistics: statistics.to_vec() };
        for cursor in [cursor((-5, 7), 19_000, &[]), cursor((i64::MAX, u64::MAX), -1, &[0, 77, u64::MAX])] {
            assert_eq!(Cursor::parse(&cursor.print()), Some(cursor));
        }
        for text in ["", "1.2", "1.2.3.", "x.1.1", "1.2.-3", "é", &format!("1.2.3{}", ".4".repeat(MOST_STATISTICS + 1))]
        {
            assert_eq!(Cursor::parse(text), None, "{text}");
        }
    }
}
