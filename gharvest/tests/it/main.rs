//! The real `gharvest` program against a simulated GitHub: what a person and a crash see of it.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test ends where something is missing")]
#![expect(clippy::print_stdout, reason = "what a run counted is for people to read")]

mod audit;
mod cli;
mod demo;
mod drill;
mod edits;
mod kill;
mod mirror;
mod offline;
mod pages;
mod processes;
mod recorded;
mod scene;
mod stack;
mod traces;
mod up;
