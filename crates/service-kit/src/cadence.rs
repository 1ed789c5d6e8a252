//! How often something runs: an interval, `5m`, or cron times with a zone, `30 4 * * 1-5 Europe/Berlin`.

use std::{fmt, str::FromStr, time::Duration};

use croner::Cron;
use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Deserializer};

use crate::duration;

/// The fields of a cron pattern: minute, hour, day of the month, month, day of the week.
const FIELDS: usize = 5;

/// How often something runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Cadence {
    /// This long after the last run.
    Every(Duration),
    /// At times of the clock.
    At(Box<Times>),
}

/// Times of the clock in a zone, as cron writes them.
#[derive(Clone)]
pub struct Times {
    text: String,
    pattern: Cron,
    zone: TimeZone,
}

impl Times {
    /// The first time after this one. Where a clock is put forward over it, the moment after the gap; where a clock is
    /// put back, once. None if no such time ever comes, as on the 30th of February.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = after.to_zoned(self.zone.clone());
        self.pattern.find_next_occurrence(&after, false).ok().map(|next| next.timestamp())
    }
}

impl PartialEq for Times {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Cadence {
    type Err = String;

    /// Reads an interval, or five cron fields and an optional zone, UTC if there is none.
    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.len() < FIELDS {
            return duration::parse(text).map(Self::Every).map_err(|error| {
                format!("{error}; or give cron times, as in `30 4 * * *` or `30 4 * * 1-5 Europe/Berlin`")
            });
        }
        let (fields, zone) = words.split_at(FIELDS);
        let zone = match zone {
            [] => TimeZone::UTC,
            [name] => {
                TimeZone::get(name).map_err(|_| format!("`{name}` is no time zone, as `Europe/Berlin` is one"))?
            }
            _ => return Err(format!("`{text}` has more than five cron fields and a time zone")),
        };
        let pattern = Cron::from_str(&fields.join(" "));
        let pattern = pattern.map_err(|error| format!("`{text}` is no cron time: {error}"))?;
        let times = Times { text: text.to_owned(), pattern, zone };
        if times.next(Timestamp::UNIX_EPOCH).is_none() {
            return Err(format!("`{text}` never comes"));
        }
        Ok(Self::At(Box::new(times)))
    }
}

impl<'de> Deserialize<'de> for Cadence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Reads a cadence; empty for never.
pub(crate) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cadence>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(text: &str) -> Times {
        match text.parse() {
            Ok(Cadence::At(times)) => *times,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn next(text: &str, after: &str) -> String {
        times(text).next(after.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn an_interval_and_times_of_the_clock_are_told_apart() {
        assert_eq!("5m".parse(), Ok(Cadence::Every(Duration::from_secs(300))));
        assert_eq!(next("30 4 * * *", "2026-03-01T00:00:00Z"), "2026-03-01T04:30:00Z");
        assert_eq!(next("30 4 * * 1-5 Europe/Berlin", "2026-03-06T04:00:00Z"), "2026-03-09T03:30:00Z");
    }

    #[test]
    fn a_clock_that_is_changed_neither_skips_a_run_nor_doubles_it() {
        // On 2026-03-29 two o'clock becomes three in Berlin; on 2026-10-25 three becomes two.
        let spring = next("30 2 * * * Europe/Berlin", "2026-03-28T12:00:00Z");
        assert!(spring.starts_with("2026-03-29T0"), "{spring}");
        let autumn = next("30 2 * * * Europe/Berlin", "2026-10-24T12:00:00Z");
        assert_eq!(autumn, "2026-10-25T00:30:00Z");
        assert_eq!(next("30 2 * * * Europe/Berlin", &autumn), "2026-10-26T01:30:00Z");
    }

    #[test]
    fn what_cannot_be_is_refused_with_an_example() {
        for (text, said) in [
            ("often", "30 4 * * *"),
            ("61 4 * * *", "is no cron time"),
            ("30 4 * * * Berlin", "`Berlin` is no time zone"),
            ("30 4 * * * UTC UTC", "more than five"),
            ("0 0 30 2 *", "never comes"),
        ] {
            let error = Cadence::from_str(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
