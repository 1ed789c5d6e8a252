//! What a document says beside its fields.

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::Error};
use serde_json::{Map, Value, value::RawValue};

/// What GitHub says and no other field of a document has: a JSON object that engines store and do not index.
///
/// It is held as text, its names in order: a thread can have thousands of them that nobody reads between the record and
/// the engine, and a tree takes many times the memory of its text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extra(Box<str>);

impl Extra {
    /// Whether there is nothing in it: then the document does not have the field either.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of its JSON.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Its fields, by name.
    pub fn fields(&self) -> Map<String, Value> {
        if self.is_empty() { Map::new() } else { serde_json::from_str(&self.0).expect("it was made of an object") }
    }
}

impl From<Map<String, Value>> for Extra {
    fn from(fields: Map<String, Value>) -> Self {
        if fields.is_empty() {
            return Self::default();
        }
        let mut object = Value::Object(fields);
        object.sort_all_objects();
        Self(object.to_string().into())
    }
}

impl Serialize for Extra {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = if self.is_empty() { "{}" } else { &self.0 };
        serde_json::from_str::<&RawValue>(text).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Extra {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_come_back_in_the_order_of_their_names_and_none_take_no_room() {
        let given = json!({"b": {"z": 1, "a": [null, "x"]}, "": u64::MAX, "a.b": -0.5});
        let extra: Extra = serde_json::from_value(given.clone()).unwrap();
        let text = r#"{"":18446744073709551615,"a.b":-0.5,"b":{"a":[null,"x"],"z":1}}"#;
        assert_eq!((serde_json::to_string(&extra).unwrap().as_str(), extra.len()), (text, text.len()));
        assert_eq!(Value::Object(extra.fields()), given);
        assert_eq!(serde_json::to_value(&extra).unwrap(), given);

        let empty = Extra::from(Map::new());
        assert_eq!((&empty, empty.len(), empty.fields().len()), (&Extra::default(), 0, 0));
        assert_eq!(serde_json::to_string(&empty).unwrap(), "{}");
        assert_eq!(serde_json::from_str::<Extra>("{}").unwrap(), empty);
        assert!(serde_json::from_str::<Extra>("[]").is_err());
    }
}
