//! Values of qualifiers: times, numbers, lengths of time, and ranges of them.
//!
//! A time as typed is a period: `2024` is a year, `2024-05` a month, `2024-05-03` a day, all UTC. `>` means after the
//! end of it, `>=` from its beginning, `<` before its beginning, `<=` to its end.

use std::ops::Bound;

use jiff::{Span, Timestamp, ToSpan, civil::Date, tz::TimeZone};

use super::tree::Range;

/// A period of time, its end excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

pub(super) const EXPECTED_TIME: &str =
    "expected a time such as `2024-01-05`, `2024-01`, `>=2024`, `2024-01-01..2024-03-31` or `>@today-7d`";
pub(super) const EXPECTED_NUMBER: &str = "expected a number such as `5`, `>5`, `<=5` or `5..10`";
pub(super) const EXPECTED_DURATION: &str = "expected a length of time such as `>7d`, `<=12h` or `1w..4w`";
pub(super) const EXPECTED_DAY: &str = "expected a date after `@`, as in `@2024-01-05` or `@today-7d`";

/// Reads a time as typed.
pub(super) fn period(text: &str, now: Timestamp) -> Option<Period> {
    let relative = text.strip_prefix('@').unwrap_or(text);
    if let Some(rest) = strip_word(relative, "today") {
        let day = now.to_zoned(TimeZone::UTC).checked_add(offset(rest)?).ok()?.date();
        return days(day, 1.day());
    }
    if let Some(rest) = strip_word(relative, "now") {
        let at = now.to_zoned(TimeZone::UTC).checked_add(offset(rest)?).ok()?.timestamp();
        return instant(at);
    }
    match text.len() {
        4 => days(date(text, 1, 1)?, 1.year()),
        7 => {
            let (year, month) = text.split_once('-')?;
            days(date(year, month.parse().ok()?, 1)?, 1.month())
        }
        10 => days(text.parse().ok()?, 1.day()),
        _ => instant(text.parse().ok()?),
    }
}

/// The last instant of the period of an as-of date.
pub(super) fn last_instant(text: &str, now: Timestamp) -> Option<Timestamp> {
    period(text, now)?.end.checked_sub(1.nanosecond()).ok()
}

fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(word.len())?;
    start.eq_ignore_ascii_case(word).then_some(rest)
}

fn date(year: &str, month: i8, day: i8) -> Option<Date> {
    let digits = year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit());
    Date::new(year.parse().ok().filter(|_| digits)?, month, day).ok()
}

fn days(first: Date, length: Span) -> Option<Period> {
    let start = first.to_zoned(TimeZone::UTC).ok()?;
    let end = start.checked_add(length).ok()?;
    Some(Period { start: start.timestamp(), end: end.timestamp() })
}

/// GitHub's times are whole seconds.
fn instant(at: Timestamp) -> Option<Period> {
    Some(Period { start: at, end: at.checked_add(1.second()).ok()? })
}

/// `-7d`, `+2w` or nothing.
fn offset(text: &str) -> Option<Span> {
    let (sign, rest) = match text.chars().next() {
        None => return Some(Span::new()),
        Some('-') => (-1, &text[1..]),
        Some('+') => (1, &text[1..]),
        Some(_) => return None,
    };
    let (count, unit) = count_and_unit(rest)?;
    let count = sign * i64::try_from(count).ok().filter(|count| *count <= 100_000)?;
    Some(match unit {
        "h" => count.hours(),
        "d" => count.days(),
        "w" => count.weeks(),
        "m" => i32::try_from(count).ok().filter(|count| count.abs() <= 100_000)?.months(),
        "y" => i32::try_from(count).ok().filter(|count| count.abs() <= 10_000)?.years(),
        _ => return None,
    })
}

fn count_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, &text[digits..]))
}

/// Reads a range of times.
pub(super) fn times(text: &str, now: Timestamp) -> Option<Range<Timestamp>> {
    range(text, |end| period(end, now).map(|period| (period.start, Bound::Excluded(period.end))))
}

/// Reads a range of whole numbers.
pub(super) fn numbers(text: &str) -> Option<Range<f64>> {
    range(text, |end| {
        let digits = !end.is_empty() && end.len() <= 15 && end.bytes().all(|byte| byte.is_ascii_digit());
        let number = end.parse::<f64>().ok().filter(|_| digits)?;
        Some((number, Bound::Included(number)))
    })
}

/// Reads a range of lengths of time, in hours. `7d` alone is from seven to eight days.
pub(super) fn hours(text: &str) -> Option<Range<f64>> {
    range(text, |end| {
        let (count, unit) = count_and_unit(end)?;
        let unit = match unit {
            "h" => 1.0,
            "d" => 24.0,
            "w" => 24.0 * 7.0,
            "m" => 24.0 * 30.0,
            "y" => 24.0 * 365.0,
            _ => return None,
        };
        if count > 1_000_000 {
            return None;
        }
        let start = count as f64 * unit;
        let exact = text.starts_with(['<', '>']) || text.contains("..");
        Some((start, if exact { Bound::Included(start) } else { Bound::Excluded(start + unit) }))
    })
}

/// Reads `x`, `>x`, `>=x`, `<x`, `<=x`, `x..y`, with `*` for an open end. `end` gives the first value that `x` covers,
/// and where it ends.
fn range<T: Copy>(text: &str, end: impl Fn(&str) -> Option<(T, Bound<T>)>) -> Option<Range<T>> {
    let side = |text: &str| if text == "*" { Some(None) } else { end(text).map(Some) };
    let (from, to) = if let Some(text) = text.strip_prefix(">=") {
        (Bound::Included(end(text)?.0), Bound::Unbounded)
    } else if let Some(text) = text.strip_prefix("<=") {
        (Bound::Unbounded, end(text)?.1)
    } else if let Some(text) = text.strip_prefix('>') {
        let after = match end(text)?.1 {
            Bound::Included(last) => Bound::Excluded(last),
            Bound::Excluded(next) => Bound::Included(next),
            Bound::Unbounded => Bound::Unbounded,
        };
        (after, Bound::Unbounded)
    } else if let Some(text) = text.strip_prefix('<') {
        (Bound::Unbounded, Bound::Excluded(end(text)?.0))
    } else if let Some((from, to)) = text.split_once("..") {
        let from = side(from)?.map_or(Bound::Unbounded, |(start, _)| Bound::Included(start));
        (from, side(to)?.map_or(Bound::Unbounded, |(_, end)| end))
    } else {
        match side(text)? {
            Some((start, end)) => (Bound::Included(start), end),
            None => (Bound::Unbounded, Bound::Unbounded),
        }
    };
    Some(Range { from, to })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2024-06-15T10:30:00Z".parse().unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn times_are_periods() {
        for (text, start, end) in [
            ("2024", "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"),
            ("2024-12", "2024-12-01T00:00:00Z", "2025-01-01T00:00:00Z"),
            ("2024-02-29", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"),
            ("@today", "2024-06-15T00:00:00Z", "2024-06-16T00:00:00Z"),
            ("@today-7d", "2024-06-08T00:00:00Z", "2024-06-09T00:00:00Z"),
            ("@today-1m", "2024-05-15T00:00:00Z", "2024-05-16T00:00:00Z"),
            ("@now-2h", "2024-06-15T08:30:00Z", "2024-06-15T08:30:01Z"),
            ("2024-05-03T10:00:00+02:00", "2024-05-03T08:00:00Z", "2024-05-03T08:00:01Z"),
        ] {
            assert_eq!(period(text, now()), Some(Period { start: at(start), end: at(end) }), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in
            ["", "x", "2024-13", "2023-02-29", "20240101", "@today-", "@today-7", "@today-999999y", "99999", "é"]
        {
            assert_eq!(period(text, now()), None, "{text}");
        }
    }

    #[test]
    fn ranges_have_the_ends_that_were_typed() {
        let held = |text: &str, day: &str| times(text, now()).unwrap().contains(&at(&format!("{day}T12:00:00Z")));
        for (text, day, expected) in [
            (">2024-05-03", "2024-05-03", false),
            (">2024-05-03", "2024-05-04", true),
            (">=2024-05-03", "2024-05-03", true),
            ("<2024-05-03", "2024-05-03", false),
            ("<=2024-05-03", "2024-05-03", true),
            ("2024-05-01..2024-05-03", "2024-05-03", true),
            ("2024-05-01..2024-05-03", "2024-05-04", false),
            ("*..2024-05-03", "1999-01-01", true),
            ("2024-05..*", "2024-04-30", false),
            ("*", "2024-04-30", true),
        ] {
            assert_eq!(held(text, day), expected, "{text} {day}");
        }
        for (text, number, expected) in
            [("5", 5.0, true), (">5", 5.0, false), ("<=5", 5.0, true), ("5..7", 7.0, true), ("*..4", 5.0, false)]
        {
            assert_eq!(numbers(text).unwrap().contains(&number), expected, "{text} {number}");
        }
        for (text, number, expected) in [
            ("7d", 168.0, true),
            ("7d", 192.0, false),
            (">7d", 168.0, false),
            (">7d", 168.5, true),
            ("<=1w", 168.0, true),
        ] {
            assert_eq!(hours(text).unwrap().contains(&number), expected, "{text} {number}");
        }
    }
}
