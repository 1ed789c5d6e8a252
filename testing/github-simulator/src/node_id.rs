//! GitHub's node ids, in both forms, built so that they decode to the REST id.
//!
//! Legacy: base64 of `0{length}:{Type}{id}`. New: a prefix, `_`, and base64url without padding of a MessagePack array
//! `[0, …ids]`. Objects keep the form of the time they were made in.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

/// Objects made from here on have new ids: 2021-10-01.
const NEW_SINCE: i64 = 1_633_046_400;

/// An element of a new id.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part<'a> {
    Id(u64),
    Sha(&'a str),
}

/// The id of an object of this type: `legacy` is GraphQL's type name, `prefix` the letters of the new form.
pub(crate) fn object(legacy: &str, prefix: &str, created: i64, repository: u64, id: u64) -> String {
    if created < NEW_SINCE { old(legacy, id) } else { new(prefix, &[Part::Id(repository), Part::Id(id)]) }
}

/// The id of a timeline event: the new form carries the issue's id too, also for pull requests.
pub(crate) fn event(legacy: &str, prefix: &str, created: i64, place: (u64, u64), id: u64) -> String {
    let (repository, issue) = place;
    if created < NEW_SINCE {
        old(legacy, id)
    } else {
        new(prefix, &[Part::Id(repository), Part::Id(issue), Part::Id(id)])
    }
}

/// The id of a user or bot.
pub(crate) fn user(legacy: &str, prefix: &str, id: u64) -> String {
    if id < 90_000_000 { old(legacy, id) } else { new(prefix, &[Part::Id(id)]) }
}

/// The id of a commit.
pub(crate) fn commit(created: i64, repository: u64, sha: &str) -> String {
    if created < NEW_SINCE {
        STANDARD.encode(format!("06:Commit{repository}:{sha}"))
    } else {
        new("C", &[Part::Id(repository), Part::Sha(sha)])
    }
}

pub(crate) fn old(legacy: &str, id: u64) -> String {
    STANDARD.encode(format!("0{}:{legacy}{id}", legacy.len()))
}

pub(crate) fn new(prefix: &str, parts: &[Part<'_>]) -> String {
    let mut bytes = vec![0x90 + u8::try_from(parts.len() + 1).expect("at most four parts"), 0];
    for part in parts {
        match part {
            Part::Id(id) => push_number(&mut bytes, *id),
            Part::Sha(sha) => {
                bytes.extend([0xda, 0, u8::try_from(sha.len()).expect("a sha has forty digits")]);
                bytes.extend(sha.as_bytes());
            }
        }
    }
    format!("{prefix}_{}", URL_SAFE_NO_PAD.encode(bytes))
}

fn push_number(bytes: &mut Vec<u8>, number: u64) {
    match number {
        0..=0x7f => bytes.push(number as u8),
        0x80..=0xff => bytes.extend([0xcc, number as u8]),
        0x100..=0xffff => {
            bytes.push(0xcd);
            bytes.extend((number as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            bytes.push(0xce);
            bytes.extend((number as u32).to_be_bytes());
        }
        _ => {
            bytes.push(0xcf);
            bytes.extend(number.to_be_bytes());
        }
    }
}

/// The numbers inside an id: one for a legacy id, all but the leading version for a new one.
pub(crate) fn decode(text: &str) -> Option<Vec<u64>> {
    if let Some((_, packed)) = text.split_once('_') {
        return unpack(&URL_SAFE_NO_PAD.decode(packed.trim_end_matches('=')).ok()?);
    }
    let plain = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    let digits = plain.split_once(':')?.1.trim_start_matches(|c: char| !c.is_ascii_digit());
    Some(vec![digits.split(':').next()?.parse().ok()?])
}

fn unpack(bytes: &[u8]) -> Option<Vec<u64>> {
    let (&head, mut rest) = bytes.split_first()?;
    let mut numbers = Vec::new();
    for _ in 0..head.checked_sub(0x90)? {
        let (&kind, after) = rest.split_first()?;
        let width = match kind {
            0..=0x7f => 0,
            0xcc..=0xcf => 1 << (kind - 0xcc),
            _ => return None,
        };
        let value = after.get(..width)?.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        numbers.push(if width == 0 { u64::from(kind) } else { value });
        rest = &after[width..];
    }
    Some(numbers.split_off(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_github_made() {
        assert_eq!(old("LabeledEvent", 3_448_858_641), "MDEyOkxhYmVsZWRFdmVudDM0NDg4NTg2NDE=");
        assert_eq!(old("Label", 2_147_693_884), "MDU6TGFiZWwyMTQ3NjkzODg0");
        assert_eq!(user("User", "U", 10137), "MDQ6VXNlcjEwMTM3");
        assert_eq!(user("User", "U", 110_166_421), "U_kgDOBpEBlQ");
        assert_eq!(
            event("LabeledEvent", "LE", NEW_SINCE, (272_700_405, 977_452_880), 5_252_748_539),
            "LE_lADOEEET9c46Qr9QzwAAAAE5FpT7"
        );
        assert_eq!(object("Milestone", "MI", NEW_SINCE, 272_700_405, 10_563_270), "MI_kwDOEEET9c4AoS7G");
        assert_eq!(
            commit(NEW_SINCE, 272_700_405, "d32506b39f8c7872bbbfcd658a74347bafeb0b36"),
            "C_kwDOEEET9doAKGQzMjUwNmIzOWY4Yzc4NzJiYmJmY2Q2NThhNzQzNDdiYWZlYjBiMzY"
        );
    }

    #[test]
    fn ids_decode_to_their_numbers() {
        assert_eq!(decode("MDEyOkxhYmVsZWRFdmVudDM0NDg4NTg2NDE="), Some(vec![3_448_858_641]));
        assert_eq!(
            decode("CWSE_lADOEEET9c8AAAABLAH3188AAAAGtVZWuQ"),
            Some(vec![272_700_405, 5_033_293_783, 28_812_138_169])
        );
        assert_eq!(decode("no id"), None);
        assert_eq!(decode("X_"), None);
    }
}
