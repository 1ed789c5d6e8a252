//! Values held small while they wait.
//!
//! A tree of JSON takes about ten times the memory of its text, and a thread's text shrinks to a tenth: so what waits by
//! the hundred waits as compressed text, and one at a time is made a tree.

use std::{fmt, marker::PhantomData};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

/// The quickest of the levels that are worth it.
const LEVEL: i32 = 1;

/// A value as compressed JSON. Clones share it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Packed<T> {
    bytes: Bytes,
    /// Of the text, in bytes.
    length: usize,
    value: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Packed<T> {
    /// Packs a value.
    pub(crate) fn new(value: &T) -> Self {
        Self::of_text(&serde_json::to_string(value).expect("values from JSON are JSON"))
    }

    /// Packs the text of a value, which must be readable as one.
    pub(crate) fn of_text(text: &str) -> Self {
        let bytes = zstd::bulk::compress(text.as_bytes(), LEVEL).expect("memory takes what is written");
        Self { bytes: bytes.into(), length: text.len(), value: PhantomData }
    }

    /// The value.
    pub(crate) fn open(&self) -> T {
        let text = zstd::bulk::decompress(&self.bytes, self.length).expect("it was compressed here");
        serde_json::from_slice(&text).expect("it was a value before it was packed")
    }

    /// How many bytes are held.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }
}

impl<T> fmt::Debug for Packed<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Packed({} bytes of {})", self.bytes.len(), self.length)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_packed_is_small_and_comes_out_as_it_was() {
        let user = json!({"login": "ann", "id": u64::MAX, "url": "https://api.github.com/users/ann", "score": 0.5});
        let thread = json!(vec![user; 100]);
        let packed = Packed::new(&thread);
        assert_eq!(packed.open(), thread);
        assert!(packed.size() * 20 < thread.to_string().len(), "{packed:?}");
        assert_eq!(Packed::<Value>::of_text(&thread.to_string()), packed);
        assert_eq!(Packed::new(&Value::Null).open(), Value::Null);
    }
}
