//! Durations in settings: `500ms`, `5s`, `2m`, `1h`, `7d`.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// Reads one duration.
pub fn parse(text: &str) -> Result<Duration, String> {
    let error = || format!("`{text}` is not a duration: expected a number and ms, s, m, h or d, as in `5s` or `2m`");
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().map_err(|_| error())?;
    let unit: u64 = match &text[end..] {
        "ms" => return Ok(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(error()),
    };
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(error)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        for (text, millis) in
            [("500ms", 500), ("5s", 5_000), ("2m", 120_000), ("1h", 3_600_000), ("7d", 604_800_000), ("0s", 0)]
        {
            assert_eq!(parse(text).unwrap(), Duration::from_millis(millis));
        }
        for text in ["", "5", "s", "-5s", "5 s", "5y", "99999999999999999999s", "18446744073709551615d"] {
            assert!(parse(text).unwrap_err().contains("expected a number"), "{text}");
        }
    }
}
