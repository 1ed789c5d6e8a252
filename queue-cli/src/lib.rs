//! A person's hand on the queue.
