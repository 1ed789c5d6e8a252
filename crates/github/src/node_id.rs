//! Reads REST ids out of GitHub's node ids.
//!
//! GraphQL tells the numeric id of few things, but REST's `node_id` is GraphQL's `id`, and the number is inside:
//! - legacy form: base64 of `0{length}:{Type}{id}`, as in `012:LabeledEvent3448858641`; a commit's is `{id}:{sha}`;
//! - new form: `PREFIX_` and base64url without padding of a MessagePack array: 0 (a version), then ids. Events have
//!   `[0, repository, issue, event]`, most objects `[0, repository, id]`, accounts `[0, id]`, commits end with a sha.
//!
//! GitHub calls node ids opaque, so reading one is best effort: whatever does not encode to itself again is unread.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

/// What a node id says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeId {
    /// The type's name (legacy, `LabeledEvent`) or its letters (new, `LE`).
    pub type_name: String,
    /// The ids inside, in order, without the version.
    pub parts: Vec<Part>,
}

/// One of the ids inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A numeric id.
    Number(u64),
    /// A commit's sha, or another text.
    Text(String),
}

impl NodeId {
    /// Reads a node id of either form; none if it is of neither.
    pub fn parse(text: &str) -> Option<Self> {
        /// GitHub's longest, of commits, have about a hundred.
        const LONGEST: usize = 512;
        if text.len() > LONGEST {
            return None;
        }
        match text.split_once('_') {
            Some((prefix, code)) if is_prefix(prefix) => Self::parse_new(prefix, code),
            _ => Self::parse_legacy(text),
        }
    }

    /// The REST id: the last number inside, if nothing but numbers stands there.
    pub fn id(&self) -> Option<u64> {
        match self.parts.last()? {
            Part::Number(id) => Some(*id),
            Part::Text(_) => None,
        }
    }

    /// The id of the issue object that an event belongs to, also for a pull request, whose own id is another one.
    /// Only the new form has it.
    pub fn issue_id(&self) -> Option<u64> {
        match self.parts[..] {
            [Part::Number(_), Part::Number(issue), Part::Number(_)] => Some(issue),
            _ => None,
        }
    }

    fn parse_new(prefix: &str, code: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(code).ok()?;
        let mut reader = Reader(&bytes);
        let count = reader.byte()?.checked_sub(0x90).filter(|count| (2..=4).contains(count))?;
        if reader.part()? != Part::Number(0) {
            return None;
        }
        let parts = (1..count).map(|_| reader.part()).collect::<Option<Vec<_>>>()?;
        reader.0.is_empty().then(|| Self { type_name: prefix.to_owned(), parts })
    }

    fn parse_legacy(text: &str) -> Option<Self> {
        let decoded = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
        let (length, rest) = decoded.split_once(':')?;
        let length: usize = length.strip_prefix('0')?.parse().ok()?;
        let (type_name, ids) = rest.split_at_checked(length)?;
        let parts = ids.split(':').map(|part| match part.parse() {
            Ok(number) if number_text(number) == part => Part::Number(number),
            _ => Part::Text(part.to_owned()),
        });
        let is_name = type_name.starts_with(|letter: char| letter.is_ascii_uppercase());
        (is_name && !ids.is_empty()).then(|| Self { type_name: type_name.to_owned(), parts: parts.collect() })
    }
}

fn number_text(number: u64) -> String {
    number.to_string()
}

fn is_prefix(text: &str) -> bool {
    !text.is_empty() && text.len() <= 10 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

/// The part of MessagePack that node ids use; only shortest forms, so that a reading encodes to itself again.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn part(&mut self) -> Option<Part> {
        let length = match self.byte()? {
            small @ 0..=0x7f => return Some(Part::Number(u64::from(small))),
            0xcc => return self.number(1).map(Part::Number),
            0xcd => return self.number(2).map(Part::Number),
            0xce => return self.number(4).map(Part::Number),
            0xcf => return self.number(8).map(Part::Number),
            short @ 0xa0..=0xbf => u64::from(short & 0x1f),
            0xd9 => self.number(1)?,
            0xda => self.number(2)?,
            _ => return None,
        };
        let text = self.take(usize::try_from(length).ok()?)?;
        Some(Part::Text(std::str::from_utf8(text).ok()?.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> (String, Vec<u64>) {
        let read = NodeId::parse(text).unwrap_or_else(|| panic!("{text}"));
        let parts = read.parts.iter().map(|part| match part {
            Part::Number(number) => *number,
            Part::Text(text) => panic!("{text}"),
        });
        (read.type_name.clone(), parts.collect())
    }

    #[test]
    fn real_ids_of_both_forms_are_read() {
        for (text, type_name, expected) in [
            ("MDEyOkxhYmVsZWRFdmVudDM0NDg4NTg2NDE=", "LabeledEvent", &[3_448_858_641][..]),
            ("MDU6TGFiZWwyMTQ3NjkzODg0", "Label", &[2_147_693_884]),
            ("LE_lADOEEET9c46Qr9QzwAAAAE5FpT7", "LE", &[272_700_405, 977_452_880, 5_252_748_539]),
            ("RDE_lADOEEET9c4nZK8hzwAAAAIxwzr-", "RDE", &[272_700_405, 660_909_857, 9_424_812_798]),
            ("CWSE_lADOEEET9c8AAAABLAH3188AAAAGtVZWuQ", "CWSE", &[272_700_405, 5_033_293_783, 28_812_138_169]),
            ("IC_kwDOEEET9c416Z4m", "IC", &[272_700_405, 904_502_822]),
            ("LA_kwDOEEET9c8AAAABPx6O3w", "LA", &[272_700_405, 5_353_934_559]),
            ("MI_kwDOEEET9c4AoS7G", "MI", &[272_700_405, 10_563_270]),
            ("U_kgDOBpEBlQ", "U", &[110_166_421]),
            ("BOT_kgDOCnlnWA", "BOT", &[175_728_472]),
        ] {
            assert_eq!(numbers(text), (type_name.to_owned(), expected.to_vec()), "{text}");
        }
        assert_eq!(NodeId::parse("LOE_lADODwFebM5HwC0kzwAAAAF_RoSA").unwrap().id(), Some(6_430_295_168));
    }

    #[test]
    fn commits_carry_a_sha_and_no_id() {
        let legacy = "MDY6Q29tbWl0MjcyNzAwNDA1OmI2NzA0Y2Y3ZTFiMDA1ZDQxMjJjMDMyNDg1YzliNWJiYTEzNTlkYTg=";
        let new = "C_kwDOEEET9doAKGQzMjUwNmIzOWY4Yzc4NzJiYmJmY2Q2NThhNzQzNDdiYWZlYjBiMzY";
        for (text, sha) in
            [(legacy, "b6704cf7e1b005d4122c032485c9b5bba1359da8"), (new, "d32506b39f8c7872bbbfcd658a74347bafeb0b36")]
        {
            let read = NodeId::parse(text).unwrap();
            assert_eq!(read.parts, [Part::Number(272_700_405), Part::Text(sha.to_owned())]);
            assert_eq!((read.id(), read.issue_id()), (None, None));
        }
    }

    #[test]
    fn an_event_tells_the_id_of_its_issue_object() {
        assert_eq!(NodeId::parse("LE_lADOEEET9c46Qr9QzwAAAAE5FpT7").unwrap().issue_id(), Some(977_452_880));
        assert_eq!(NodeId::parse("IC_kwDOEEET9c416Z4m").unwrap().issue_id(), None);
    }

    #[test]
    fn what_is_no_node_id_is_not_read() {
        let long = format!("LE_{}", "A".repeat(10_000));
        for text in [
            "",
            "_",
            "LE_",
            "LE_AAAA",
            "LE_!!!!",
            "le_kgDOBpEBlQ",
            "x",
            "MDEyOg==",
            "MDE6",
            "LE_lADOEEET9c46Qr9Q",
            &long,
        ] {
            assert_eq!(NodeId::parse(text), None, "{text}");
        }
    }
}
