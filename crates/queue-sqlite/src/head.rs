//! The counters and the scheduling state of each queue: a few numbers, read and written once a transaction.

use gharvest_model::QueueName;
use gharvest_queue::{Counts, Totals, schedule::Schedule};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::row::queue_number;

/// The numbers of one queue.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Head {
    /// Jobs by slot: ready by lane, delayed, leased, buried.
    pub(crate) jobs: [u64; 8],
    pub(crate) totals: Totals,
    pub(crate) schedule: Schedule,
    pub(crate) last_token: u64,
    pub(crate) last_sequence: u64,
}

impl Head {
    pub(crate) fn counts(&self) -> Counts {
        Counts { totals: self.totals, ..counts(&self.jobs) }
    }
}

/// Jobs by slot as counts without totals.
pub(crate) fn counts(jobs: &[u64; 8]) -> Counts {
    let [ready @ .., delayed, leased, buried] = *jobs;
    Counts { ready, delayed, leased, buried, ..Counts::default() }
}

/// Both queues' numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Heads {
    download: Head,
    index: Head,
}

impl Heads {
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        Ok(Self { download: load(connection, QueueName::Download)?, index: load(connection, QueueName::Index)? })
    }

    /// Writes what differs from `loaded`.
    pub(crate) fn save(&self, connection: &Connection, loaded: &Self) -> rusqlite::Result<()> {
        for queue in QueueName::ALL {
            let head = self.of(queue);
            if head != loaded.of(queue) {
                let data = serde_json::to_string(head)
                    .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
                connection
                    .prepare_cached("INSERT OR REPLACE INTO head (queue, data) VALUES (?1, ?2)")?
                    .execute(params![queue_number(queue), data])?;
            }
        }
        Ok(())
    }

    pub(crate) fn of(&self, queue: QueueName) -> &Head {
        match queue {
            QueueName::Download => &self.download,
            QueueName::Index => &self.index,
        }
    }

    pub(crate) fn of_mut(&mut self, queue: QueueName) -> &mut Head {
        match queue {
            QueueName::Download => &mut self.download,
            QueueName::Index => &mut self.index,
        }
    }
}

/// The numbers of one queue as they were committed last.
pub(crate) fn load(connection: &Connection, queue: QueueName) -> rusqlite::Result<Head> {
    let data: Option<String> = connection
        .prepare_cached("SELECT data FROM head WHERE queue = ?1")?
        .query_row([queue_number(queue)], |row| row.get(0))
        .optional()?;
    match data {
        None => Ok(Head::default()),
        Some(data) => serde_json::from_str(&data).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
        }),
    }
}
