//! Daily counts: how many items were open, with which label, assignee and milestone, at the last instant of each day.
//!
//! Made of intervals alone. [`Builder`] keeps one item's intervals and a change a day for each (dimension, value,
//! kind): memory grows with what changed, not with items. Days are UTC.
//!
//! Every (dimension, value, kind) gets a row for each day on which it is not all zero, so that charts are plain sums:
//! no day has to be carried forward. A project of 1,800 items over twelve years has about 87,000 rows. What opened, closed, merged or reopened on a day counts for the values that the
//! item has at that day's end.

use std::{collections::BTreeMap, mem};

use gharvest_model::{Kind, RepositoryId};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::document::{DailyDocument, IntervalDocument};

/// Dimensions whose values are counted, beside `all`.
const DIMENSIONS: [&str; 3] = ["assignee", "label", "milestone"];

/// Which repository the counts are of.
#[derive(Debug, Clone)]
pub struct DailyContext {
    /// The numeric id.
    pub repository_id: RepositoryId,
    /// `owner/name` now.
    pub repository: String,
    /// Seen only by who may read it.
    pub private: bool,
    /// The repository's daily version.
    pub version: u64,
}

/// Counts the intervals of one repository.
#[derive(Debug, Default)]
pub struct Builder {
    item: String,
    intervals: Vec<IntervalDocument>,
    series: BTreeMap<Series, BTreeMap<Date, Change>>,
}

/// One line of a chart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    dimension: &'static str,
    value: String,
    kind: Kind,
}

/// What changed on a day.
#[derive(Debug, Clone, Copy, Default)]
struct Change {
    open: i64,
    opened: u32,
    closed: u32,
    merged: u32,
    reopened: u32,
}

impl Change {
    fn add(&mut self, flow: Flow) {
        let count = match flow {
            Flow::Opened => &mut self.opened,
            Flow::Closed => &mut self.closed,
            Flow::Merged => &mut self.merged,
            Flow::Reopened => &mut self.reopened,
        };
        *count += 1;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Opened,
    Closed,
    Merged,
    Reopened,
}

/// A half-open span of days at whose end something holds; no end is open.
type Days = (Date, Option<Date>);

impl Builder {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an interval. Intervals of one item must follow each other; tombstones do not count.
    pub fn add(&mut self, interval: IntervalDocument) {
        if interval.item != self.item {
            self.count_item();
            self.item.clone_from(&interval.item);
        }
        let counts = interval.dimension == "state" || DIMENSIONS.contains(&interval.dimension.as_str());
        if counts && !interval.deleted {
            self.intervals.push(interval);
        }
    }

    /// The rows up to a day, that one included, in the order of dimension, value, kind and day.
    pub fn finish(mut self, context: DailyContext, until: Date) -> impl Iterator<Item = DailyDocument> {
        self.count_item();
        self.series.into_iter().flat_map(move |(series, changes)| {
            let context = context.clone();
            Rows::new(changes, until).map(move |(day, row)| document(&context, &series, day, row))
        })
    }

    /// Turns the intervals of an item into changes.
    fn count_item(&mut self) {
        let intervals = mem::take(&mut self.intervals);
        let Some(kind) = intervals.first().map(|interval| interval.kind) else { return };
        let mut states: Vec<&IntervalDocument> = intervals.iter().filter(|i| i.dimension == "state").collect();
        states.sort_by_key(|interval| interval.from);
        let open: Vec<Days> = states.iter().filter(|i| i.value == "open").filter_map(|i| days(i)).collect();
        let flows = flows(&states);
        self.count_series(Series { dimension: "all", value: String::new(), kind }, &open, &flows);
        for (dimension, value, spans) in spans_by_value(&intervals) {
            let open: Vec<Days> = open.iter().flat_map(|a| spans.iter().filter_map(|b| overlap(*a, *b))).collect();
            let held = |day: Date| spans.iter().any(|(from, to)| *from <= day && to.is_none_or(|to| day < to));
            let flows: Vec<(Date, Flow)> = flows.iter().copied().filter(|(day, _)| held(*day)).collect();
            self.count_series(Series { dimension, value, kind }, &open, &flows);
        }
    }

    fn count_series(&mut self, series: Series, open: &[Days], flows: &[(Date, Flow)]) {
        if open.is_empty() && flows.is_empty() {
            return;
        }
        let changes = self.series.entry(series).or_default();
        for (from, to) in open {
            changes.entry(*from).or_default().open += 1;
            if let Some(to) = to {
                changes.entry(*to).or_default().open -= 1;
            }
        }
        for (day, flow) in flows {
            changes.entry(*day).or_default().add(*flow);
        }
    }
}

/// The spans of each value, those of one value joined where they overlap: a value counts once a day.
fn spans_by_value(intervals: &[IntervalDocument]) -> Vec<(&'static str, String, Vec<Days>)> {
    let mut found: BTreeMap<(&'static str, String), Vec<Days>> = BTreeMap::new();
    for interval in intervals {
        let Some(dimension) = DIMENSIONS.iter().find(|dimension| **dimension == interval.dimension) else { continue };
        let value = interval.value_now.as_ref().unwrap_or(&interval.value);
        if let Some(span) = days(interval) {
            found.entry((*dimension, value.clone())).or_default().push(span);
        }
    }
    found.into_iter().map(|((dimension, value), spans)| (dimension, value, joined(spans))).collect()
}

fn joined(mut spans: Vec<Days>) -> Vec<Days> {
    spans.sort_by_key(|(from, _)| *from);
    let mut joined: Vec<Days> = Vec::new();
    for (from, to) in spans {
        match joined.last_mut() {
            Some((_, end)) if end.is_none_or(|end| from <= end) => {
                *end = end.zip(to).map(|(a, b)| a.max(b));
            }
            _ => joined.push((from, to)),
        }
    }
    joined
}

/// The days at whose last instant an interval holds; none if it begins and ends within one day.
fn days(interval: &IntervalDocument) -> Option<Days> {
    let from = day_of(interval.from);
    let to = interval.to.map(day_of);
    to.is_none_or(|to| from < to).then_some((from, to))
}

fn overlap((from_a, to_a): Days, (from_b, to_b): Days) -> Option<Days> {
    let from = from_a.max(from_b);
    let to = match (to_a, to_b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    to.is_none_or(|to| from < to).then_some((from, to))
}

/// Changes of state: an item is opened once, and reopened after that.
fn flows(states: &[&IntervalDocument]) -> Vec<(Date, Flow)> {
    let mut flows = Vec::new();
    for (index, state) in states.iter().enumerate() {
        let day = day_of(state.from);
        match state.value.as_str() {
            "open" if index == 0 => flows.push((day, Flow::Opened)),
            "open" => flows.push((day, Flow::Reopened)),
            "merged" => flows.extend([(day, Flow::Closed), (day, Flow::Merged)]),
            _ => flows.push((day, Flow::Closed)),
        }
    }
    flows
}

/// The UTC day of a time.
pub fn day_of(time: Timestamp) -> Date {
    time.to_zoned(TimeZone::UTC).date()
}

/// The rows of one series, day by day.
struct Rows {
    changes: BTreeMap<Date, Change>,
    day: Option<Date>,
    until: Date,
    open: i64,
}

impl Rows {
    fn new(changes: BTreeMap<Date, Change>, until: Date) -> Self {
        let day = changes.keys().next().copied();
        Self { changes, day, until, open: 0 }
    }
}

impl Iterator for Rows {
    type Item = (Date, Change);

    fn next(&mut self) -> Option<(Date, Change)> {
        loop {
            let day = self.day.filter(|day| *day <= self.until)?;
            let change = self.changes.remove(&day).unwrap_or_default();
            self.open += change.open;
            // Days on which nothing is open and nothing happens are skipped, not walked through.
            self.day = if self.open > 0 { day.tomorrow().ok() } else { self.changes.keys().next().copied() };
            let row = Change { open: self.open, ..change };
            if row.open > 0 || row.opened + row.closed + row.merged + row.reopened > 0 {
                return Some((day, row));
            }
        }
    }
}

fn document(context: &DailyContext, series: &Series, day: Date, row: Change) -> DailyDocument {
    DailyDocument {
        key: key(context.repository_id, series, day),
        repository_id: context.repository_id,
        repository: context.repository.clone(),
        private: context.private,
        day: day.to_string(),
        dimension: series.dimension.into(),
        value: series.value.clone(),
        kind: series.kind,
        open: u32::try_from(row.open).unwrap_or_default(),
        opened: row.opened,
        closed: row.closed,
        merged: row.merged,
        reopened: row.reopened,
        version: context.version,
    }
}

/// `{repository_id}:d:{day}:{dimension}:{hash}`: the hash is of value and kind, because values are of any length.
fn key(repository: RepositoryId, series: &Series, day: Date) -> String {
    let text = format!("{}\n{}", series.kind, series.value);
    let hash = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    format!("{repository}:d:{day}:{}:{}", series.dimension, hex::encode(&hash.as_ref()[..8]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-01-01, in hours from which the tests count.
    const BEGIN: i64 = 1_767_225_600;
    const DAYS: i64 = 12;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(BEGIN + hour * 3600).unwrap()
    }

    fn interval(item: u64, dimension: &str, value: &str, from: i64, to: Option<i64>) -> IntervalDocument {
        IntervalDocument {
            key: String::new(),
            item: format!("1:{item}"),
            repository_id: RepositoryId(1),
            repository: "a/b".into(),
            number: item,
            kind: if item.is_multiple_of(2) { Kind::Issue } else { Kind::PullRequest },
            deleted: false,
            private: false,
            dimension: dimension.into(),
            value: value.into(),
            value_now: None,
            from: at(from),
            to: to.map(at),
            hours: to.map(|to| (to - from) as f32),
            by: None,
            inferred: false,
            revision: gharvest_model::Revision(1),
        }
    }

    fn rows(intervals: Vec<IntervalDocument>) -> Vec<DailyDocument> {
        let mut builder = Builder::new();
        intervals.into_iter().for_each(|interval| builder.add(interval));
        let context =
            DailyContext { repository_id: RepositoryId(1), repository: "a/b".into(), private: false, version: 1 };
        builder.finish(context, day_of(at(24 * DAYS - 1))).collect()
    }

    /// Counts one day by asking every interval whether it holds at the day's last instant.
    fn open_at_end_of(day: i64, intervals: &[IntervalDocument], dimension: &str, value: &str, kind: Kind) -> u32 {
        let last = at(24 * (day + 1)).checked_sub(jiff::Span::new().nanoseconds(1)).unwrap();
        let holds = |i: &IntervalDocument| i.from <= last && i.to.is_none_or(|to| last < to);
        let open =
            intervals.iter().filter(|i| i.dimension == "state" && i.value == "open" && i.kind == kind && holds(i));
        let with_value = |item: &str| {
            dimension == "all"
                || intervals.iter().any(|i| i.item == item && i.dimension == dimension && i.value == value && holds(i))
        };
        open.filter(|i| with_value(&i.item)).count() as u32
    }

    type Labels = Vec<(bool, i64, Option<i64>)>;

    /// An item's intervals: state changes at some hours, and spans of two labels.
    fn item_history() -> impl Strategy<Value = (Vec<i64>, Labels)> {
        let hours = proptest::collection::btree_set(0..24 * DAYS, 1..6).prop_map(|hours| hours.into_iter().collect());
        let labels = proptest::collection::vec((any::<bool>(), 0..24 * DAYS, proptest::option::of(1..100_i64)), 0..4);
        (hours, labels)
    }

    proptest! {
        #[test]
        fn counts_agree_with_a_replay_of_each_day(histories in proptest::collection::vec(item_history(), 0..8)) {
            let mut intervals = Vec::new();
            for (item, (hours, labels)) in histories.iter().enumerate() {
                for (index, from) in hours.iter().enumerate() {
                    let state = if index % 2 == 0 { "open" } else { "closed" };
                    intervals.push(interval(item as u64, "state", state, *from, hours.get(index + 1).copied()));
                }
                for (which, from, length) in labels {
                    let label = if *which { "bug" } else { "good" };
                    intervals.push(interval(item as u64, "label", label, *from, length.map(|length| from + length)));
                }
            }
            let rows = rows(intervals.clone());
            for day in 0..DAYS {
                let name = day_of(at(24 * day)).to_string();
                for (dimension, value) in [("all", ""), ("label", "bug"), ("label", "good")] {
                    for kind in [Kind::Issue, Kind::PullRequest] {
                        let row = rows.iter().find(|row| row.day == name && row.dimension == dimension && row.value == value && row.kind == kind);
                        let expected = open_at_end_of(day, &intervals, dimension, value, kind);
                        prop_assert_eq!(row.map_or(0, |row| row.open), expected, "{} {} {} {}", name, dimension, value, kind);
                    }
                }
            }
            let opened: u32 = rows.iter().filter(|row| row.dimension == "all").map(|row| row.opened).sum();
            prop_assert_eq!(opened as usize, histories.len());
            let keys: std::collections::HashSet<_> = rows.iter().map(|row| &row.key).collect();
            prop_assert_eq!(keys.len(), rows.len());
        }
    }

    #[test]
    fn an_item_open_within_one_day_counts_as_opened_and_closed_but_never_as_open() {
        let rows = rows(vec![interval(2, "state", "open", 3, Some(5)), interval(2, "state", "merged", 5, None)]);
        let [row] = rows.as_slice() else { panic!("one row: {rows:?}") };
        assert_eq!((row.open, row.opened, row.closed, row.merged, row.day.as_str()), (0, 1, 1, 1, "2026-01-01"));
    }

    #[test]
    fn tombstones_do_not_count() {
        let gone = IntervalDocument { deleted: true, ..interval(2, "state", "open", 3, None) };
        assert!(rows(vec![gone]).is_empty());
    }
}
