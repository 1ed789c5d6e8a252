//! What tests share: named skips, and real services on loopback.

pub mod browser;
mod component;
mod compose;
mod fetched;
mod names;
pub mod nginx;
mod npm;
mod page;
mod python;
mod recorded;
pub mod redis;
mod s3;
pub mod search;
mod skip;
mod stack;

pub use component::component;
pub use compose::{checkout, composed};
pub use names::NameServer;
pub use npm::npm_package;
pub use page::{behaviour_table, page_section};
pub use python::python_tool;
pub use recorded::{recorded_data, recorded_records};
pub use s3::{S3Server, s3_server};
pub use search::{SearchServer, search_server, search_server_of};
pub use skip::skip;
pub use stack::Stack;
