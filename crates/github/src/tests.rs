//! Tests of the whole client: over a scripted service on paused time, and over real sockets that misbehave.

mod installations;
mod limits;
mod meanings;
mod sight;
mod spending;
mod stub;
mod threads;
mod tokens;
mod wire;
