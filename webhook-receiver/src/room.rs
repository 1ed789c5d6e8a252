//! Room for bodies: what strangers send cannot fill the memory, and who sends slowly holds up few others.
//!
//! Up to 16 KiB a body needs no room, and most deliveries are that short. A longer one takes a place among those of up to
//! 1 MiB, as nearly all others are, and a place among the longest once it is longer than that. Room is taken by what has
//! come, not by what was announced: announcing costs nothing. Who has a place waits only for one among the longest, and
//! those wait for nobody, so none wait for each other.

use std::sync::Arc;

use bytes::BytesMut;
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

impl Place {
    /// Makes a buffer large enough for so many bytes of a body of which so many are expected: as large as the place at
    /// once, because one that doubles again and again holds up to three times the body while it grows. The system gives
    /// memory only as it is written to.
    pub(crate) fn widen(&self, buffer: &mut BytesMut, needed: usize, expected: usize) {
        if buffer.capacity() < needed {
            buffer.reserve(expected.min(self.bytes).max(needed) - buffer.len());
        }
    }

    /// Whether it is one for the longest bodies.
    pub(crate) fn is_large(&self) -> bool {
        self.bytes > MIDDLE_BODY
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_growing_body_never_holds_more_than_its_place() {
        let (room, longest) = (Room::default(), 25 * 1024 * 1024);
        // Announced, and sent in pieces of which nobody knows how many come.
        for expected in [20 * 1024 * 1024, longest] {
            let (mut place, mut buffer, mut sizes) = (Place::default(), BytesMut::new(), Vec::new());
            while buffer.len() < expected {
                let piece = [1; 10_000];
                let piece = &piece[..piece.len().min(expected - buffer.len())];
                let needed = buffer.len() + piece.len();
                room.make(&mut place, needed).await;
                place.widen(&mut buffer, needed, expected);
                buffer.extend_from_slice(piece);
                sizes.push(buffer.capacity());
            }
            sizes.dedup();
            assert_eq!(sizes, [SMALL_BODY, MIDDLE_BODY, expected]);
        }
    }
}
