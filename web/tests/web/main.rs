//! The web front on embedded backends, without a socket.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod access;
mod api;
mod mirror;
mod pages;
