//! The queue and the state on Redis, the distributed backend.
