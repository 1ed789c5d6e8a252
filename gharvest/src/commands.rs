//! One module a command.

pub(crate) mod audit;
pub(crate) mod deletions;
#[cfg(feature = "demo")]
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod healthcheck;
pub(crate) mod import;
pub(crate) mod keys;
pub(crate) mod mirror;
pub(crate) mod rebuild;

pub(crate) mod schedules;
pub(crate) mod search;
pub(crate) mod settings;
pub(crate) mod show;
pub(crate) mod snapshot;
pub(crate) mod status;
pub(crate) mod track;
pub(crate) mod up;
pub(crate) mod verify;
