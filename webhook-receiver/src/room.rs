//! Room for bodies: what strangers send cannot fill the memory, and who sends slowly holds up few others.
//!
//! Up to 16 KiB a body needs no room, and most deliveries are that short. A longer one takes a place among those of up to
//! 1 MiB, as nearly all others are, and a place among the longest once it is longer than that. Room is taken by what has
//! come, not by what was announced: announcing costs nothing. Who has a place waits only for one among the longest, and
//! those wait for nobody, so none wait for each other.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The part of a body that every delivery may hold, in bytes.
pub(crate) const SMALL_BODY: usize = 16 * 1024;

/// Beyond this a body is one of the longest, in bytes.
const MIDDLE_BODY: usize = 1024 * 1024;

/// Bodies of up to [`MIDDLE_BODY`] at once.
const MIDDLE_PLACES: usize = 48;

/// Bodies of any length at once.
const LARGE_PLACES: usize = 2;

/// Places for bodies.
#[derive(Debug)]
pub(crate) struct Room {
    middle: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// A body's place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    /// So long a body has room in it.
    bytes: usize,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Default for Place {
    /// Where every body begins.
    fn default() -> Self {
        Self { bytes: SMALL_BODY, _permit: None }
    }
}

impl Default for Room {
    fn default() -> Self {
        Self { middle: Arc::new(Semaphore::new(MIDDLE_PLACES)), large: Arc::new(Semaphore::new(LARGE_PLACES)) }
    }
}

impl Room {
    /// Waits until `place` has room for so many bytes.
    pub(crate) async fn make(&self, place: &mut Place, bytes: usize) {
        if bytes > place.bytes {
            *place = taken(&self.middle, MIDDLE_BODY).await;
        }
        if bytes > place.bytes {
            *place = taken(&self.large, usize::MAX).await;
        }
    }
}

async fn taken(places: &Arc<Semaphore>, bytes: usize) -> Place {
    let permit = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
    Place { bytes, _permit: Some(permit) }
}
