//! The webhook receiver: verify, classify, make durable, answer 202.
//!
//! A delivery is answered with success only after its trigger is durable: on the queue, or, with the queue away, in
//! the archive's inbox, from which the seeder pushes it later. GitHub does not redeliver by itself, so 503 is the last
//! resort. The receiver never talks to GitHub.
//!
//! Steps, each a module: [`signature`] checks who sent it, `payload` reads the few fields that matter, [`classify`]
//! decides what follows from them (pure), `receive` makes that durable for what is on the list of `tracking`, [`hooks`]
//! remembers whose hook it was, `router` speaks HTTP, within `room`.

pub mod classify;
pub mod hooks;
mod payload;
mod receive;
mod room;
mod router;
pub mod signature;
mod tracking;

pub use classify::Headers;
pub use payload::{Payload, PayloadError};
pub use receive::{NotDurable, Outcome, Received, Receiver, SPOOL};
pub use router::router;

/// What follows from a body, without a signature or any effect: the whole path of what strangers can send, for fuzzers.
///
/// # Errors
/// When the body is no payload.
pub fn classify_bytes(event: &str, content_type: &str, body: &[u8]) -> Result<classify::Classified, PayloadError> {
    let mut payload = Payload::read(content_type, body)?;
    payload.restrict(|name| name.owner().len() > 1);
    Ok(classify::classify(Headers { event, delivery: "fuzz", hook: None }, &payload, jiff::Timestamp::UNIX_EPOCH))
}
