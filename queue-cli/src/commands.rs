//! One module a group of verbs.

pub(crate) mod add;
pub(crate) mod buried;
mod dashboard;
pub(crate) mod pause;
pub(crate) mod remove;
pub(crate) mod show;
pub(crate) mod status;
