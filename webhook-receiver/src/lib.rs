//! The webhook receiver: verify, classify, make durable, answer 202.
//!
//! A delivery is answered with success only after its trigger is durable: on the queue, or, with the queue away, in
//! the archive's inbox, from which the seeder pushes it later. GitHub does not redeliver by itself, so 503 is the last
//! resort. The receiver never talks to GitHub.
//!
//! Steps, each a module: [`signature`] checks who sent it, `payload` reads the few fields that matter, [`classify`]
//! decides what follows from them (pure), `receive` makes that durable, `router` speaks HTTP.

pub mod classify;
mod payload;
mod receive;
mod router;
pub mod signature;

pub use payload::{Payload, PayloadError};
pub use receive::{Outcome, Receiver};
pub use router::router;
