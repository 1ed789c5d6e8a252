//! The receiver over HTTP: without a socket, on real sockets, behind a real nginx.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod abuse;
mod deliveries;
mod examples;
mod process;
mod scene;
