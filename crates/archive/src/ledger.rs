//! The ledger on disk: an encoded ledger under zstd, and a journal of changes.
//!
//! A change is 9 bytes, little endian: the number (4), the state (1; 255 only makes the ledger reach the number), the
//! seconds since 1970 (4). Writers of one process share their appends: whoever gets the repository's lock writes all
//! that wait, so a hundred workers cost a few syncs and not a hundred.

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

use crate::{Archive, Error, ErrorKind, LedgerChange, Result, corrupt, store::Fold};

const CHANGE: usize = 9;
const REACH: u8 = 255;
/// An encoded ledger at its limit, with its head.
const LARGEST: u64 = Ledger::LIMIT * 5 + 64;

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
    /// A repository's ledger; empty if there is none.
    pub async fn ledger(&self, id: RepositoryId) -> Result<Ledger> {
        let key = ledger_key(id);
        let (base, changes) = self.store().read_journal(&key).await?;
        apply(&key, base, &changes)
    }

    /// Applies changes to the ledger, durably; every number below one that is new appears as unknown.
    pub async fn update_ledger(&self, id: RepositoryId, changes: &[LedgerChange]) -> Result<()> {
        let encoded = changes.iter().map(|change| encode(change.number, change.state as u8, change.verified_at));
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
        let fold: Fold = Arc::new(move |base, changes| to_file(&folded, &apply(&folded, base, &changes)?));
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

fn apply(key: &str, base: Option<Bytes>, changes: &[u8]) -> Result<Ledger> {
    let mut ledger = match base {
        None => Ledger::default(),
        Some(packed) => {
            let mut bytes = Vec::new();
            let decoder = zstd::Decoder::new(&*packed).map_err(|error| corrupt(key, error))?;
            decoder.take(LARGEST).read_to_end(&mut bytes).map_err(|error| corrupt(key, error))?;
            Ledger::decode(&bytes).map_err(|error| corrupt(key, error))?
        }
    };
    for change in changes.chunks_exact(CHANGE) {
        let number = u64::from(u32::from_le_bytes([change[0], change[1], change[2], change[3]]));
        let seconds = u32::from_le_bytes([change[5], change[6], change[7], change[8]]);
        let at = Timestamp::from_second(i64::from(seconds)).unwrap_or(Timestamp::UNIX_EPOCH);
        if number == 0 || number > Ledger::LIMIT {
            return Err(Error::new(ErrorKind::Corrupt, "read", key, format!("its journal names number {number}")));
        }
        match NumberState::ALL.get(usize::from(change[4])) {
            Some(state) => ledger.set(number, *state, at),
            None => ledger.reach(number),
        }
    }
    Ok(ledger)
}
