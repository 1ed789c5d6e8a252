//! The ledger on disk: an encoded ledger under zstd, and a journal of changes.
//!
//! A change is 9 bytes, little endian: the number (4), the state (1), the seconds since 1970 (4). A state of 255 only makes
//! the ledger reach the number; 128 and a state only moves the time, if that is still the number's state by then. Writers
//! of one process share their appends: whoever gets the repository's lock writes all that wait, so a hundred workers cost
//! a few syncs and not a hundred.

use std::{
    collections::HashMap,
    io::Read as _,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use gharvest_model::{
    RepositoryId,
    ledger::{Ledger, NumberState},
};
use jiff::Timestamp;

use crate::{
    Archive, Error, ErrorKind, LedgerChange, Result, corrupt,
    store::{Base, Fold, Mark},
};

const CHANGE: usize = 9;
const REACH: u8 = 255;
/// Added to a state: it is confirmed, not set.
const CONFIRM: u8 = 128;
/// An encoded ledger at its limit, with its head.
const LARGEST: u64 = Ledger::LIMIT * 5 + 64;

/// How many numbers the ledgers kept in memory have at most, all together; five bytes a number.
const KEPT_NUMBERS: u64 = 4_000_000;
/// What a ledger costs in memory besides its numbers, counted as numbers.
const KEPT_OVERHEAD: u64 = 100;

/// Ledgers as they were last read, those of the repositories asked for last. Before a use each is brought to what is
/// stored, whoever wrote it: so what is kept saves reading, and never changes an answer.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<Slots>);

#[derive(Debug, Default)]
struct Slots {
    by_repository: HashMap<RepositoryId, Slot>,
    uses: u64,
}

/// A ledger and up to where it was read; none before the first time. Who reads holds it, so that a hundred readers
/// decode once.
type KeptLedger = Arc<tokio::sync::Mutex<Option<(Mark, Arc<Ledger>)>>>;

#[derive(Debug, Default)]
struct Slot {
    ledger: KeptLedger,
    numbers: u64,
    last_use: u64,
}

impl Kept {
    fn slot(&self, id: RepositoryId) -> KeptLedger {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.uses += 1;
        let last_use = slots.uses;
        let slot = slots.by_repository.entry(id).or_default();
        slot.last_use = last_use;
        Arc::clone(&slot.ledger)
    }

    /// Notes how large a ledger is, and forgets those not used for longest until all fit.
    fn fit(&self, id: RepositoryId, numbers: u64) {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.by_repository.get_mut(&id) {
            slot.numbers = numbers;
        }
        let cost = |slot: &Slot| slot.numbers + KEPT_OVERHEAD;
        let mut total: u64 = slots.by_repository.values().map(cost).sum();
        while total > KEPT_NUMBERS {
            let oldest = slots.by_repository.iter().min_by_key(|(_, slot)| slot.last_use).map(|(id, _)| *id);
            let Some(slot) = oldest.and_then(|id| slots.by_repository.remove(&id)) else { return };
            total -= cost(&slot);
        }
    }
}

/// The repositories whose ledgers this process writes.
#[derive(Debug, Default)]
pub(crate) struct Writers(Mutex<HashMap<RepositoryId, Arc<Writer>>>);

#[derive(Debug, Default)]
struct Writer {
    waiting: Mutex<Waiting>,
    writing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// How many bytes were ever written before `bytes`.
    written: u64,
}

impl Writer {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Archive {
    /// A repository's ledger; empty if there is none. Asked often it costs little: only what was appended since the
    /// last time is read, unless the ledger was folded meanwhile.
    pub async fn ledger(&self, id: RepositoryId) -> Result<Arc<Ledger>> {
        let key = ledger_key(id);
        let slot = self.inner.kept_ledgers.slot(id);
        let mut kept = slot.lock().await;
        let journal = self.store().read_journal(&key, kept.as_ref().map(|(mark, _)| mark)).await?;
        let mut ledger = match (journal.base, kept.take()) {
            (Base::Known, Some((_, ledger))) => ledger,
            (Base::Known, None) => {
                return Err(Error::new(ErrorKind::Corrupt, "read", key, "nobody read its beginning"));
            }
            (Base::Read(base), _) => Arc::new(decode(&key, base)?),
        };
        if !journal.entries.is_empty() {
            apply(&key, Arc::make_mut(&mut ledger), &journal.entries)?;
        }
        *kept = journal.mark.map(|mark| (mark, Arc::clone(&ledger)));
        drop(kept);
        self.inner.kept_ledgers.fit(id, ledger.highest());
        Ok(ledger)
    }

    /// Applies changes to the ledger, durably; every number below one that is new appears as unknown.
    pub async fn update_ledger(&self, id: RepositoryId, changes: &[LedgerChange]) -> Result<()> {
        let encoded = changes.iter().map(|change| encode(change.number, change.state as u8, change.verified_at));
        let encoded = encoded.collect::<Result<Vec<_>>>()?.concat();
        self.append_to_ledger(id, &encoded).await
    }

    /// Notes, durably, that numbers were seen to be in the states that the ledger has them in. Where a number's state is
    /// another by now, whoever wrote it knows more, and nothing is changed.
    pub async fn confirm_ledger(&self, id: RepositoryId, seen: &[LedgerChange]) -> Result<()> {
        let encoded = seen.iter().map(|seen| encode(seen.number, CONFIRM | seen.state as u8, seen.verified_at));
        let encoded = encoded.collect::<Result<Vec<_>>>()?.concat();
        self.append_to_ledger(id, &encoded).await
    }

    /// Makes the ledger reach `highest`.
    pub async fn reach(&self, id: RepositoryId, highest: u64) -> Result<()> {
        if highest == 0 {
            return Ok(());
        }
        self.append_to_ledger(id, &encode(highest, REACH, Timestamp::UNIX_EPOCH)?).await
    }

    async fn append_to_ledger(&self, id: RepositoryId, changes: &[u8]) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        self.check_known(id).await?;
        let writer = {
            let mut writers = self.inner.ledgers.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(writers.entry(id).or_default())
        };
        let mine = {
            let mut waiting = writer.waiting();
            waiting.bytes.extend_from_slice(changes);
            waiting.written + waiting.bytes.len() as u64
        };
        let _writing = writer.writing.lock().await;
        let batch = {
            let waiting = writer.waiting();
            if waiting.written >= mine {
                return Ok(());
            }
            waiting.bytes.clone()
        };
        let key = ledger_key(id);
        let folded = key.clone();
        let fold: Fold = Arc::new(move |base, changes| {
            let mut ledger = decode(&folded, base)?;
            apply(&folded, &mut ledger, &changes)?;
            to_file(&folded, &ledger)
        });
        // What was not written, by an error or because this future was dropped, goes with the next writer.
        self.store().journal(&key, batch.clone().into(), fold).await?;
        let mut waiting = writer.waiting();
        waiting.bytes.drain(..batch.len());
        waiting.written += batch.len() as u64;
        Ok(())
    }
}

/// A ledger as its file holds it.
pub(crate) fn to_file(key: &str, ledger: &Ledger) -> Result<Bytes> {
    Ok(zstd::encode_all(&*ledger.encode(), 3).map_err(|error| corrupt(key, error))?.into())
}

fn ledger_key(id: RepositoryId) -> String {
    format!("repositories/{id}/ledger")
}

fn encode(number: u64, state: u8, at: Timestamp) -> Result<[u8; CHANGE]> {
    if number == 0 || number > Ledger::LIMIT {
        let message = format!("numbers go from 1 to {}", Ledger::LIMIT);
        return Err(Error::new(ErrorKind::Refused, "update the ledger", number.to_string(), message));
    }
    let number = u32::try_from(number).expect("the limit is below 2^32").to_le_bytes();
    let at = u32::try_from(at.as_second()).unwrap_or(0).to_le_bytes();
    let mut change = [0; CHANGE];
    change[..4].copy_from_slice(&number);
    change[4] = state;
    change[5..].copy_from_slice(&at);
    Ok(change)
}

pub(crate) fn decode(key: &str, file: Option<Bytes>) -> Result<Ledger> {
    let Some(packed) = file else { return Ok(Ledger::default()) };
    let mut bytes = Vec::new();
    let decoder = zstd::Decoder::new(&*packed).map_err(|error| corrupt(key, error))?;
    decoder.take(LARGEST).read_to_end(&mut bytes).map_err(|error| corrupt(key, error))?;
    Ledger::decode(&bytes).map_err(|error| corrupt(key, error))
}

fn apply(key: &str, ledger: &mut Ledger, changes: &[u8]) -> Result<()> {
    for change in changes.chunks_exact(CHANGE) {
        let number = u64::from(u32::from_le_bytes([change[0], change[1], change[2], change[3]]));
        let seconds = u32::from_le_bytes([change[5], change[6], change[7], change[8]]);
        let at = Timestamp::from_second(i64::from(seconds)).unwrap_or(Timestamp::UNIX_EPOCH);
        if number == 0 || number > Ledger::LIMIT {
            return Err(Error::new(ErrorKind::Corrupt, "read", key, format!("its journal names number {number}")));
        }
        let state = NumberState::ALL.get(usize::from(change[4] & !CONFIRM));
        match state {
            Some(state) if change[4] & CONFIRM == 0 => ledger.set(number, *state, at),
            Some(state) => confirm(ledger, number, *state, at),
            None => ledger.reach(number),
        }
    }
    Ok(())
}

fn confirm(ledger: &mut Ledger, number: u64, state: NumberState, at: Timestamp) {
    let entry = ledger.get(number);
    if number <= ledger.highest() && entry.state == state && entry.verified_at < Some(at) {
        ledger.set(number, state, at);
    }
}
