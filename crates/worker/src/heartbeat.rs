//! Keeps a lease alive, and knows when it must be taken for lost.

use std::{sync::Arc, time::Duration};

use gharvest_model::QueueName;
use gharvest_queue::{Extended, Queue, Token};
use tokio::time::Instant;

use crate::report;

/// Why work must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The queue says that the lease is gone.
    Told,
    /// The queue did not answer for two thirds of the lease.
    Silent,
}

/// Extends the lease each third of `hold`; returns when it must be taken for lost.
///
/// The lease's end is counted from the moment its last extension was *asked for*, on this process's own clock.
pub(crate) async fn keep(
    queue: &Arc<dyn Queue>,
    name: QueueName,
    token: Token,
    hold: Duration,
    requested: Instant,
) -> Lost {
    let mut alive_since = requested;
    let mut next = requested + hold / 3;
    loop {
        let give_up = alive_since + hold * 2 / 3;
        tokio::time::sleep_until(next.min(give_up)).await;
        let asked = Instant::now();
        if asked >= give_up {
            return Lost::Silent;
        }
        match tokio::time::timeout_at(give_up, queue.extend(name, token, hold)).await {
            Ok(Ok(Extended::Until(_))) => {
                alive_since = asked;
                next = asked + hold / 3;
            }
            Ok(Ok(Extended::Lost)) => return Lost::Told,
            Ok(Err(error)) => {
                report(name, "extend", &error);
                next = asked + hold / 12;
            }
            Err(_elapsed) => return Lost::Silent,
        }
    }
}
