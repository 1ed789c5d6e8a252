//! How a job lies in its row.

use gharvest_model::{Lane, QueueName};
use gharvest_queue::{
    JobState,
    key::{Key, Name},
    rules::{Record, Request},
};
use rusqlite::{
    Row, ToSql,
    types::{FromSqlError, ToSqlOutput, Type, Value, ValueRef},
};
use serde::{Deserialize, Serialize};

/// The columns that [`read`] reads, in its order.
pub(crate) const COLUMNS: &str = "repository, name, state, lane, attempts, at, sequence, token, extra";

/// A job with its place in its lane.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) record: Record,
    pub(crate) sequence: u64,
}

/// What only few jobs have. A missing request is the lean one of the row's lane.
#[derive(Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Extra {
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Request>,
    #[serde(skip_serializing_if = "is_zero")]
    lost: u32,
    #[serde(skip_serializing_if = "is_zero")]
    not_before: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dirty: Option<Request>,
    #[serde(skip_serializing_if = "is_zero")]
    doomed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The queue's number in the file.
pub(crate) fn queue_number(queue: QueueName) -> i64 {
    match queue {
        QueueName::Download => 0,
        QueueName::Index => 1,
    }
}

/// The state's number in the file; partial indexes name it.
pub(crate) fn state_number(state: JobState) -> i64 {
    match state {
        JobState::Delayed => 0,
        JobState::Ready => 1,
        JobState::Leased => 2,
        JobState::Buried => 3,
    }
}

/// The tally's slot of a job: its lane's while it is ready, else its state's.
pub(crate) fn slot(record: &Record) -> usize {
    match record.state {
        JobState::Ready => record.request.lane.index(),
        JobState::Delayed => 5,
        JobState::Leased => 6,
        JobState::Buried => 7,
    }
}

/// The name as a column: an integer or a text.
pub(crate) struct NameColumn<'a>(pub(crate) &'a Name);

impl ToSql for NameColumn<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self.0 {
            Name::Number(number) => Ok(ToSqlOutput::Owned(Value::Integer(signed(*number)))),
            Name::Text(text) => Ok(ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes()))),
        }
    }
}

/// Numbers in the file are signed; ours are checked to fit long before they come here.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What `extra` holds of a record.
pub(crate) fn extra(record: &Record) -> rusqlite::Result<Option<String>> {
    let lean = record.request == Request::lean(record.request.lane);
    let extra = Extra {
        request: (!lean).then(|| record.request.clone()),
        lost: record.lost,
        not_before: record.not_before,
        dirty: record.dirty.clone(),
        doomed: record.doomed,
        failure: record.failure.clone(),
    };
    if extra == Extra::default() {
        return Ok(None);
    }
    serde_json::to_string(&extra).map(Some).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// Reads a job from a row of [`COLUMNS`].
pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<(Key, Stored)> {
    let repository = row.get(0)?;
    let name = match row.get_ref(1)? {
        ValueRef::Integer(number) => Name::Number(u64::try_from(number).map_err(|_| out_of_range(1, number))?),
        _ => Name::Text(row.get(1)?),
    };
    let state = match row.get(2)? {
        0 => JobState::Delayed,
        1 => JobState::Ready,
        2 => JobState::Leased,
        3 => JobState::Buried,
        other => return Err(out_of_range(2, other)),
    };
    let lane: i64 = row.get(3)?;
    let lane =
        usize::try_from(lane).ok().and_then(|index| Lane::ALL.get(index)).ok_or_else(|| out_of_range(3, lane))?;
    let extra = match row.get_ref(8)?.as_str_or_null().map_err(conversion)? {
        None => Extra::default(),
        Some(text) => serde_json::from_str(text).map_err(conversion)?,
    };
    let record = Record {
        state,
        request: extra.request.unwrap_or_else(|| Request::lean(*lane)),
        attempts: row.get(4)?,
        lost: extra.lost,
        not_before: extra.not_before,
        at: row.get(5)?,
        token: row.get::<_, Option<u64>>(7)?.unwrap_or(0),
        dirty: extra.dirty,
        doomed: extra.doomed,
        failure: extra.failure,
    };
    Ok((Key { repository, name }, Stored { record, sequence: row.get(6)? }))
}

fn out_of_range(column: usize, value: i64) -> rusqlite::Error {
    rusqlite::Error::IntegralValueOutOfRange(column, value)
}

fn conversion(error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(8, Type::Text, Box::new(FromSqlError::Other(error.into())))
}
