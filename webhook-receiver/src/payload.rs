//! The few fields of a payload that matter, read leniently: a 25 MB payload is skipped over, not built in memory.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

use gharvest_model::{RepositoryId, RepositoryName};

/// What a payload says, as far as we ask. Fields of an unexpected type count as absent.
#[derive(Debug, Default, Deserialize)]
pub struct Payload {
    /// What happened to the subject of the event.
    #[serde(default, deserialize_with = "lenient")]
    pub action: Option<String>,
    /// The repository it happened in.
    #[serde(default, deserialize_with = "lenient")]
    pub repository: Option<PayloadRepository>,
    /// Who did it.
    #[serde(default, deserialize_with = "lenient")]
    pub sender: Option<Sender>,
    /// The number at the top level, of `pull_request` events.
    #[serde(default, deserialize_with = "lenient")]
    pub number: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) issue: Option<Numbered>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) pull_request: Option<Numbered>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) sub_issue: Option<Numbered>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) sub_issue_repo: Option<PayloadRepository>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) parent_issue: Option<Numbered>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) parent_issue_repo: Option<PayloadRepository>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) blocked_issue: Option<Numbered>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) blocked_issue_repo: Option<PayloadRepository>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) blocking_issue: Option<Numbered>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) blocking_issue_repo: Option<PayloadRepository>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) changes: Option<Value>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) comment: Option<Value>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) review: Option<Value>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) thread: Option<Value>,
    #[serde(default, rename = "ref", deserialize_with = "lenient")]
    pub(crate) git_ref: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) hook_id: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) repositories_added: Option<Vec<PayloadRepository>>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) repositories_removed: Option<Vec<PayloadRepository>>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) repositories: Option<Vec<PayloadRepository>>,
}

/// A repository as payloads name it.
#[derive(Debug, Clone, Deserialize)]
pub struct PayloadRepository {
    /// GitHub's numeric id.
    pub id: RepositoryId,
    /// `owner/name`.
    pub full_name: RepositoryName,
    /// Whether it is private.
    #[serde(default)]
    pub private: bool,
    #[serde(default)]
    pub(crate) default_branch: Option<String>,
}

/// Who did it.
#[derive(Debug, Clone, Deserialize)]
pub struct Sender {
    /// The login.
    pub login: String,
}

/// Anything with a number.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Numbered {
    pub(crate) number: u64,
}

/// Why a body is no payload.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// Not JSON, or nested too deeply.
    #[error("the payload is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// JSON, but no object.
    #[error("the payload is not JSON of an object")]
    NotAnObject,
    /// A form without its field.
    #[error("the form has no field `payload`")]
    NoPayloadField,
    /// A content type that GitHub does not send.
    #[error("content type `{0}` is not supported: expected application/json or application/x-www-form-urlencoded")]
    ContentType(String),
}

impl Payload {
    /// Reads a body of the content type given.
    pub fn read(content_type: &str, body: &[u8]) -> Result<Self, PayloadError> {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Self::from_json(body),
            "application/x-www-form-urlencoded" => {
                let field = form_urlencoded::parse(body).find(|(name, _)| name == "payload");
                let (_, json) = field.ok_or(PayloadError::NoPayloadField)?;
                Self::from_json(json.as_bytes())
            }
            _ => Err(PayloadError::ContentType(essence.chars().take(100).collect())),
        }
    }
}

impl Payload {
    /// A list would be read as an object's fields in their order, so it is refused here.
    fn from_json(json: &[u8]) -> Result<Self, PayloadError> {
        match json.trim_ascii_start().first() {
            Some(b'{') => Ok(serde_json::from_slice(json)?),
            Some(b'[') => Err(PayloadError::NotAnObject),
            _ => Ok(serde_json::from_slice(json)?),
        }
    }
}

/// An unexpected type is an absent field: GitHub adds and changes, and an accepted delivery beats a strict one.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(T::deserialize(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_content_types_are_read() {
        let json = br#"{"action":"opened","issue":{"number":7,"title":"x"}}"#;
        let form = format!("payload={}", form_urlencoded::byte_serialize(json).collect::<String>());
        for (content_type, body) in [
            ("application/json; charset=utf-8", json.as_slice()),
            ("application/x-www-form-urlencoded", form.as_bytes()),
        ] {
            let payload = Payload::read(content_type, body).unwrap();
            assert_eq!(payload.issue.unwrap().number, 7);
        }
    }

    #[test]
    fn unexpected_types_count_as_absent() {
        let payload =
            Payload::read("application/json", br#"{"action":5,"number":"x","issue":[],"repository":{"id":-1}}"#)
                .unwrap();
        assert!(
            payload.action.is_none()
                && payload.number.is_none()
                && payload.issue.is_none()
                && payload.repository.is_none()
        );
        let huge = Payload::read("application/json", br#"{"number":99999999999999999999999}"#).unwrap();
        assert!(huge.number.is_none());
    }

    #[test]
    fn what_is_no_payload_is_said_clearly() {
        let deep = format!("{{\"changes\":{}", "[".repeat(100_000));
        for (content_type, body, expected) in [
            ("application/json", "{", "not JSON"),
            ("application/json", "[1]", "not JSON"),
            ("application/json", "\u{fffd}", "not JSON"),
            ("application/json", &deep, "not JSON"),
            ("application/x-www-form-urlencoded", "a=b", "no field"),
            ("text/plain", "{}", "content type"),
        ] {
            assert!(Payload::read(content_type, body.as_bytes()).unwrap_err().to_string().contains(expected));
        }
        assert!(Payload::read("application/json", b"{\"action\":\"\xff\"}").is_err());
    }
}
