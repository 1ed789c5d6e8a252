//! Times as people write them.

use jiff::{Span, Timestamp, civil::Date, tz::TimeZone};

/// Reads an instant (`2021-12-01T00:00:00Z`), a day (`2021-12-01`, from its begin in UTC) or a time before or after now
/// (`3 days ago`, `2h`).
pub(crate) fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let day = text.parse::<Date>().ok().filter(|_| text.len() == 10);
    if let Some(at) = day.and_then(|day| day.to_zoned(TimeZone::UTC).ok()) {
        return Ok(at.timestamp());
    }
    let span = text.strip_prefix("in ").unwrap_or(text).parse::<Span>().ok();
    let at = span.and_then(|span| now.to_zoned(TimeZone::UTC).checked_add(span).ok());
    at.map(|at| at.timestamp()).ok_or_else(|| {
        format!("`{text}` is no time: expected one as in `2021-12-01T00:00:00Z`, `2021-12-01` or `3 days ago`")
    })
}

/// Reads a time, of which the request itself says whether it fits.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    parse(text, Timestamp::now())
}

/// Reads a time to come.
pub(crate) fn future(text: &str) -> Result<Timestamp, String> {
    let now = Timestamp::now();
    let at = parse(text, now)?;
    if at <= now {
        return Err(format!("`{text}` has passed: expected a time to come, as in `in 2 hours`"));
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now: Timestamp = "2024-03-01T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2021-12-01T00:00:00Z", "2021-12-01T00:00:00Z"),
            ("2021-12-01T01:00:00+01:00", "2021-12-01T00:00:00Z"),
            ("2021-12-01", "2021-12-01T00:00:00Z"),
            ("3 days ago", "2024-02-27T12:00:00Z"),
            ("1 month ago", "2024-02-01T12:00:00Z"),
            ("2h ago", "2024-03-01T10:00:00Z"),
            ("in 2 hours", "2024-03-01T14:00:00Z"),
            ("30m", "2024-03-01T12:30:00Z"),
        ] {
            assert_eq!(parse(text, now), Ok(expected.parse().unwrap()), "{text}");
        }
        for text in ["", "yesterday-ish", "3", "2021-13-01", "9999999 years ago"] {
            assert!(parse(text, now).unwrap_err().contains("3 days ago"), "{text}");
        }
    }
}
