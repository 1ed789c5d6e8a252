//! Names, ids, jobs and records; no I/O.
//!
//! The words are those of `_docs/architecture.md`: a *repository* holds *items* (issues and pull requests),
//! an item with everything said on it is a *thread*, and the archived JSON of a thread is its *record*.

pub mod change;
pub mod drift;
pub mod fill;
pub mod ids;
pub mod job;
pub mod labels;
pub mod ledger;
pub mod listed;
pub mod live;
pub mod lossy;
pub mod progress;
pub mod record;
pub mod removal;
pub mod tracking;

pub use ids::{InvalidName, ItemId, ItemRef, Kind, RepositoryId, RepositoryName};
pub use job::{Lane, QueueName, Subject};
pub use record::{Record, Revision};
