//! The queue and the state on Redis 7 or newer, or Valkey: the distributed backend.
//!
//! Every operation is one Lua script and so one atomic step; pushes that wait at the same time share one. A script is
//! refused as a whole before its first write when Redis is out of memory (`#!lua` without flags); those that let work
//! drain may run even then. All keys share one hash tag, so that a job is finished and its follow-up pushed in one step,
//! also on a cluster.
//!
//! # Keys
//!
//! Below `gharvest:{namespace}:`, and for each queue below `download:` and `index:`:
//!
//! | key | type | holds |
//! | --- | --- | --- |
//! | `j:REPOSITORY:BUCKET` | hash | records of 64 consecutive numbers; four bytes for a backfill's |
//! | `p:REPOSITORY` | hash | records of parts; of texts for repository 0 |
//! | `rs`, `drs`, `why` | hash | reasons of a job, of its dirty request; why it failed last |
//! | `l:REPOSITORY:LANE` | list | ready jobs in their order |
//! | `sk:REPOSITORY:LANE` | hash | entries of that list to skip, because their job moved |
//! | `rn` | hash | ready jobs by repository and lane |
//! | `ring:LANE` | sorted set | repositories with ready jobs by virtual time |
//! | `ra:LANE` | sorted set | ready jobs whose due time is known, by it |
//! | `due`, `dead` | sorted set | delayed jobs by their time; buried ones by key |
//! | `leases`, `lease:TOKEN`, `held`, `requests` | | leases by their end; request and jobs of one; how many it holds |
//! | `cnt`, `rc` | hash | counters of the queue; of repositories |
//! | `repos` | sorted set | repositories with jobs |
//! | `pages:REPOSITORY` | sorted set | which buckets may hold records, by pages of 64, for browsing |
//! | `meta`, `pauses`, `pauses_why` | | turns, last token, pauses |
//! | `deliveries` (beside the queues) | sorted set | delivery ids by their time, for four days |
//!
//! # Waking
//!
//! Whatever makes a job ready, or may make one due sooner, publishes the queue's name on `wake`. Every process that
//! waits subscribes once and looks again after each message and after each reconnect; a wait ends after seconds in any
//! case. A list with a blocking pop would wake one process only, but a wait that is given up half way would take the
//! signal with it.

mod arguments;
mod caller;
mod connection;
mod error;
mod listener;
mod push;
mod queue;
mod record;
mod scripts;
mod state;

pub use queue::RedisQueue;
pub use state::RedisState;
