//! Who listens: a seat for each live reader, so many in all, and so many for each client.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Who a reader belongs to: the name of an API key, of a user, or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Client(pub(crate) String);

/// The seats of all live readers.
#[derive(Debug, Clone)]
pub(crate) struct Readers {
    in_all: usize,
    of_each: usize,
    taken: Arc<Mutex<HashMap<Client, usize>>>,
}

/// A seat; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    client: Client,
    taken: Arc<Mutex<HashMap<Client, usize>>>,
}

impl Readers {
    /// So many seats, and so many for each client.
    pub(crate) fn new(in_all: usize, of_each: usize) -> Self {
        Self { in_all, of_each, taken: Arc::default() }
    }

    /// Takes a seat; the error says which limit is reached.
    pub(crate) fn seat(&self, client: &Client) -> Result<Seat, &'static str> {
        let mut taken = lock(&self.taken);
        if taken.values().sum::<usize>() >= self.in_all {
            return Err("too many live readers at once: [web] live_readers is the limit");
        }
        let own = taken.entry(client.clone()).or_default();
        if *own >= self.of_each {
            return Err("too many live readers of one client: [web] live_readers_per_client is the limit");
        }
        *own += 1;
        Ok(Seat { client: client.clone(), taken: Arc::clone(&self.taken) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        if let Some(own) = taken.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.client);
            }
        }
    }
}

fn lock(taken: &Mutex<HashMap<Client, usize>>) -> MutexGuard<'_, HashMap<Client, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_limited_in_all_and_for_each_and_free_when_left() {
        let readers = Readers::new(3, 2);
        let (ann, bob) = (Client("ann".into()), Client("bob".into()));
        let seats = [readers.seat(&ann).unwrap(), readers.seat(&ann).unwrap()];
        assert!(readers.seat(&ann).unwrap_err().contains("per_client"));
        let third = readers.seat(&bob).unwrap();
        assert!(readers.seat(&bob).unwrap_err().contains("live_readers is"));
        drop(third);
        drop(readers.seat(&bob).unwrap());
        drop(seats);
        assert!(lock(&readers.taken).is_empty());
    }
}
