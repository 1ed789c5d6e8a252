//! What the headers of an answer say about limits, read leniently: missing, fractional and absurd values occur.

use std::time::Duration;

use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};

/// No limit of GitHub lasts longer than its hourly window; a longer time in a header is cut to this.
pub(crate) const LONGEST_LIMIT: SignedDuration = SignedDuration::from_mins(61);

/// One reading of a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reading {
    /// `core`, `graphql` …, where GitHub names it.
    pub(crate) resource: Option<String>,
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    pub(crate) reset_at: Timestamp,
}

impl Reading {
    /// From `x-ratelimit-*`; none when the server has no limits or a value is missing.
    pub(crate) fn of(headers: &HeaderMap, now: Timestamp) -> Option<Self> {
        let resource = text(headers, "x-ratelimit-resource")
            .filter(|name| name.len() <= 40 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
        Some(Self {
            resource: resource.map(str::to_owned),
            limit: number(headers, "x-ratelimit-limit")?,
            remaining: number(headers, "x-ratelimit-remaining")?,
            reset_at: reset_time(number(headers, "x-ratelimit-reset")?, now),
        })
    }
}

/// The end of a window, given in seconds since 1970, cut to what is possible.
pub(crate) fn reset_time(seconds: u64, now: Timestamp) -> Timestamp {
    let reset = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    reset.unwrap_or(Timestamp::MAX).min(later(now, LONGEST_LIMIT))
}

/// `X-OAuth-Scopes`: the scopes of a classic token, perhaps none; GitHub sends no such header for other tokens.
pub(crate) fn scopes(headers: &HeaderMap) -> Option<Vec<String>> {
    let scopes = text(headers, "x-oauth-scopes")?.split(',').map(str::trim).filter(|scope| !scope.is_empty());
    Some(scopes.map(str::to_owned).collect())
}

/// `GitHub-Authentication-Token-Expiration`: when the token ends, as in `2026-12-24 18:00:00 UTC` or with an offset.
pub(crate) fn ends_at(headers: &HeaderMap) -> Option<Timestamp> {
    let value = text(headers, "github-authentication-token-expiration")?.replace("UTC", "+0000");
    jiff::fmt::strtime::parse("%Y-%m-%d %H:%M:%S %z", value).ok()?.to_timestamp().ok()
}

/// `Date`: the server's clock, to the second.
pub(crate) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    Some(jiff::fmt::rfc2822::parse(text(headers, "date")?).ok()?.timestamp())
}

/// `Retry-After`: seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    let value = text(headers, "retry-after")?;
    let at = match value.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => {
            later(now, SignedDuration::try_from_secs_f64(seconds).unwrap_or(LONGEST_LIMIT))
        }
        Ok(_) => return None,
        Err(_) => jiff::fmt::rfc2822::parse(value).ok()?.timestamp(),
    };
    Some(at.clamp(now, later(now, LONGEST_LIMIT)))
}

/// The time so much later, at most the last time there is.
pub(crate) fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// How long from `now` until `time`; zero when it has passed.
pub(crate) fn until(time: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(now)).unwrap_or(Duration::ZERO)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Some servers send `4999.0`.
fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    let value: f64 = text(headers, name)?.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked, and `as` saturates")]
    (value.is_finite() && value >= 0.0).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn budgets_are_read_from_odd_numbers_and_absurd_ones_are_cut() {
        let reset = now().as_second() + 60;
        let reading = |limit: &str, remaining: &str, reset: &str| {
            let pairs =
                [("x-ratelimit-limit", limit), ("x-ratelimit-remaining", remaining), ("x-ratelimit-reset", reset)];
            Reading::of(&headers(&pairs), now())
        };
        let read = reading("5000.0", " 4999.0 ", &format!("{reset}.0")).unwrap();
        assert_eq!((read.limit, read.remaining, read.reset_at.as_second()), (5000, 4999, reset));
        for absurd in ["99999999999999999999999", "1e300", "9000000000000"] {
            assert_eq!(reading("5000", "1", absurd).unwrap().reset_at, later(now(), LONGEST_LIMIT), "{absurd}");
        }
        for wrong in ["", "-1", "NaN", "inf", "soon"] {
            assert_eq!(reading(wrong, "1", "1"), None, "{wrong}");
        }
        assert_eq!(Reading::of(&HeaderMap::new(), now()), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_never_more_than_the_window() {
        let seconds = |value: &str| {
            retry_after(&headers(&[("retry-after", value)]), now()).map(|at| at.as_second() - now().as_second())
        };
        assert_eq!(seconds("0"), Some(0));
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds("1.5"), Some(1));
        assert_eq!(seconds("Thu, 01 Jan 2026 00:02:00 GMT"), Some(120));
        assert_eq!(seconds("Wed, 31 Dec 2025 00:00:00 GMT"), Some(0));
        assert_eq!(seconds("1e18"), Some(3660));
        assert_eq!(seconds("-5"), None);
        assert_eq!(seconds("later"), None);
    }
}
