//! The command line as people type it: on the queue itself and through a running system's API, which must say the same.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod session;
mod verbs;
mod world;
