//! The ledger: the state of every number of a repository, from 1 to the highest seen.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What became of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum NumberState {
    /// Nothing is known yet.
    Unknown = 0,
    /// There is a record of it, and GitHub shows it.
    Present = 1,
    /// GitHub said that it was deleted.
    Deleted = 2,
    /// It moved to another repository; where to stands in its record.
    Transferred = 3,
    /// GitHub shows nothing, without saying why, and this was confirmed.
    Hidden = 4,
    /// Not an issue and not a pull request: discussions share the numbers.
    NotAnItem = 5,
    /// It could not be fetched; why stands with the buried job.
    Failed = 6,
}

impl NumberState {
    /// Every state, in the order of its number on disk.
    pub const ALL: [Self; 7] =
        [Self::Unknown, Self::Present, Self::Deleted, Self::Transferred, Self::Hidden, Self::NotAnItem, Self::Failed];

    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Present => "present",
            Self::Deleted => "deleted",
            Self::Transferred => "transferred",
            Self::Hidden => "hidden",
            Self::NotAnItem => "not_an_item",
            Self::Failed => "failed",
        }
    }

    /// Whether the number is accounted for: everything but unknown and failed.
    pub fn is_accounted_for(self) -> bool {
        !matches!(self, Self::Unknown | Self::Failed)
    }
}

/// One number's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What became of the number.
    pub state: NumberState,
    /// When GitHub last confirmed that, to the second; none if never.
    pub verified_at: Option<Timestamp>,
}

impl Entry {
    /// Of a number that nobody has looked at.
    pub const UNKNOWN: Self = Self { state: NumberState::Unknown, verified_at: None };
}

/// The state of every number of one repository, five bytes a number in memory.
///
/// The encoded form is at most five bytes a number as well, and compresses to a fraction of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    states: Vec<u8>,
    /// Seconds since 1970, 0 for never; good until 2106.
    verified: Vec<u32>,
}

impl Ledger {
    /// The highest number seen, 0 for none.
    pub fn highest(&self) -> u64 {
        self.states.len() as u64
    }

    /// Makes every number up to `number` appear, as unknown where nothing is known.
    ///
    /// # Panics
    /// If `number` is beyond [`Ledger::LIMIT`]; callers check what comes from outside.
    pub fn reach(&mut self, number: u64) {
        assert!(number <= Self::LIMIT, "number {number} is beyond the ledger's limit");
        let length = number as usize;
        if length > self.states.len() {
            self.states.resize(length, NumberState::Unknown as u8);
            self.verified.resize(length, 0);
        }
    }

    /// The highest number that a ledger holds: more than a hundred times GitHub's largest repository.
    pub const LIMIT: u64 = 50_000_000;

    /// The entry of a number; unknown beyond the highest.
    pub fn get(&self, number: u64) -> Entry {
        let Some(index) = number.checked_sub(1).map(|index| index as usize) else { return Entry::UNKNOWN };
        let Some(state) = self.states.get(index).and_then(|state| NumberState::ALL.get(usize::from(*state))) else {
            return Entry::UNKNOWN;
        };
        let verified_at = match self.verified[index] {
            0 => None,
            seconds => Timestamp::from_second(i64::from(seconds)).ok(),
        };
        Entry { state: *state, verified_at }
    }

    /// Sets a number's state, verified at `at`.
    pub fn set(&mut self, number: u64, state: NumberState, at: Timestamp) {
        self.reach(number);
        let index = (number - 1) as usize;
        self.states[index] = state as u8;
        self.verified[index] = u32::try_from(at.as_second()).unwrap_or(0);
    }

    /// How many numbers are in each state, in the order of [`NumberState::ALL`].
    pub fn counts(&self) -> [u64; 7] {
        let mut counts = [0; 7];
        for state in &self.states {
            counts[usize::from(*state).min(6)] += 1;
        }
        counts
    }

    /// The numbers in a state, ascending.
    pub fn numbers(&self, state: NumberState) -> impl Iterator<Item = u64> + '_ {
        self.states.iter().zip(1..).filter(move |(found, _)| **found == state as u8).map(|(_, number)| number)
    }

    /// Whether every number is accounted for.
    pub fn is_complete(&self) -> bool {
        self.states
            .iter()
            .all(|state| NumberState::ALL.get(usize::from(*state)).is_some_and(|state| state.is_accounted_for()))
    }

    /// When the number verified longest ago was verified; none if one never was, or there is none.
    pub fn oldest_verification(&self) -> Option<Timestamp> {
        let oldest = *self.verified.iter().min()?;
        (oldest > 0).then(|| Timestamp::from_second(i64::from(oldest)).ok()).flatten()
    }

    /// The form on disk: `GHLEDGER`, a format byte (1), the first 8 bytes of the SHA-256 of what follows, then how many
    /// numbers (4 bytes), a byte of state for each, and four planes of bytes of the seconds, lowest first; all little
    /// endian. Planes compress far better than whole seconds.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(4 + self.states.len() * 5);
        let count = u32::try_from(self.states.len()).expect("the limit is below 2^32");
        body.extend_from_slice(&count.to_le_bytes());
        body.extend_from_slice(&self.states);
        for plane in 0..4 {
            body.extend(self.verified.iter().map(|seconds| seconds.to_le_bytes()[plane]));
        }
        [MAGIC.as_slice(), &checksum(&body), &body].concat()
    }

    /// Reads what [`Ledger::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DamagedLedger> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(DamagedLedger("it does not begin as a ledger of this version"))?;
        let (sum, body) = rest.split_first_chunk::<8>().ok_or(DamagedLedger("it is cut off"))?;
        if checksum(body) != *sum {
            return Err(DamagedLedger("its checksum does not match"));
        }
        let (count, columns) = body.split_first_chunk::<4>().ok_or(DamagedLedger("it is cut off"))?;
        let count = u32::from_le_bytes(*count) as usize;
        if count as u64 > Self::LIMIT || columns.len() != count * 5 {
            return Err(DamagedLedger("its length is wrong"));
        }
        let byte = |plane: usize, index: usize| columns[count * (plane + 1) + index];
        let seconds = |index| u32::from_le_bytes([byte(0, index), byte(1, index), byte(2, index), byte(3, index)]);
        Ok(Self { states: columns[..count].to_vec(), verified: (0..count).map(seconds).collect() })
    }
}

const MAGIC: &[u8; 9] = b"GHLEDGER\x01";

/// Why bytes are not a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ledger is damaged: {0}")]
pub struct DamagedLedger(&'static str);

fn checksum(body: &[u8]) -> [u8; 8] {
    let digest = ring::digest::digest(&ring::digest::SHA256, body);
    digest.as_ref()[..8].try_into().expect("a digest has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_on_disk_is_read_back_and_every_damage_is_found() {
        let mut ledger = Ledger::default();
        assert_eq!(Ledger::decode(&ledger.encode()), Ok(ledger.clone()));
        ledger.set(3, NumberState::Present, Timestamp::from_second(1_700_000_000).unwrap());
        ledger.set(1, NumberState::Hidden, Timestamp::from_second(1_800_000_001).unwrap());
        let bytes = ledger.encode();
        assert_eq!(hex::encode(&bytes), GOLDEN, "the format of version 1 stays");
        assert_eq!(Ledger::decode(&bytes), Ok(ledger));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Ledger::decode(&damaged).is_err(), "{at}");
            assert!(Ledger::decode(&bytes[..at]).is_err(), "{at}");
        }
    }

    const GOLDEN: &str = "47484c4544474552018d51596ed365812503000000040001010000d200f14900536b0065";

    #[test]
    fn a_ledger_of_150_000_numbers_is_well_under_a_megabyte() {
        let mut ledger = Ledger::default();
        ledger.set(150_000, NumberState::Present, Timestamp::from_second(1_700_000_000).unwrap());
        let bytes = ledger.encode();
        assert!(bytes.len() < 800_000, "{}", bytes.len());
        assert_eq!(Ledger::decode(&bytes), Ok(ledger));
    }

    #[test]
    fn numbers_below_a_higher_one_appear_as_unknown() {
        let mut ledger = Ledger::default();
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        ledger.set(3, NumberState::Present, at);
        assert_eq!(ledger.highest(), 3);
        assert_eq!(ledger.get(1).state, NumberState::Unknown);
        assert_eq!(ledger.get(3), Entry { state: NumberState::Present, verified_at: Some(at) });
        assert_eq!(ledger.numbers(NumberState::Unknown).collect::<Vec<_>>(), [1, 2]);
        assert!(!ledger.is_complete());
        assert_eq!(ledger.oldest_verification(), None);
        assert_eq!(ledger.get(0).state, NumberState::Unknown);
        assert_eq!(ledger.get(4).state, NumberState::Unknown);
    }
}
