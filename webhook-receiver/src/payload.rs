//! The few fields of a payload that matter, read leniently: a 25 MB payload is skipped over, not built in memory.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value, value::RawValue};

use gharvest_model::{RepositoryId, RepositoryName};
use gharvest_queue::key::LARGEST;

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
    #[serde(default, deserialize_with = "bounded")]
    pub(crate) changes: Option<Value>,
    #[serde(default)]
    pub(crate) comment: Option<Box<RawValue>>,
    #[serde(default)]
    pub(crate) review: Option<Box<RawValue>>,
    #[serde(default)]
    pub(crate) thread: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) label: Option<Label>,
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
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) organization: Option<Account>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) installation: Option<Installation>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) account: Option<Account>,
    /// Repositories that it names by id and that its sender has no say about.
    #[serde(skip)]
    pub(crate) foreign: Vec<RepositoryId>,
}

/// A repository as payloads name it.
#[derive(Debug, Clone)]
pub struct PayloadRepository {
    /// GitHub's numeric id.
    pub id: RepositoryId,
    /// `owner/name`.
    pub full_name: RepositoryName,
    /// Whether it is private.
    pub private: bool,
    pub(crate) default_branch: Option<String>,
}

/// Who did it.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The login.
    pub login: String,
}

/// A user or an organisation.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) login: String,
}

/// An installation of an App; the account is named in events of the installation itself only.
#[derive(Debug, Clone)]
pub(crate) struct Installation {
    pub(crate) account: Option<Account>,
}

/// A label of a repository.
#[derive(Debug, Clone)]
pub(crate) struct Label {
    pub(crate) id: u64,
    pub(crate) name: String,
}

/// Anything with a number.
#[derive(Debug, Clone)]
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
        Self::from_json(&json_of(content_type, body)?)
    }
}

impl Payload {
    /// Whose delivery it is, as far as it says: the owner's login, and the repository's name.
    pub(crate) fn whose(&self) -> Option<(&str, Option<&str>)> {
        if let Some(repository) = &self.repository {
            return Some((repository.full_name.owner(), Some(repository.full_name.name())));
        }
        let installed = self.installation.as_ref().and_then(|installation| installation.account.as_ref());
        let account = self.organization.as_ref().or(installed).or(self.account.as_ref())?;
        Some((&account.login, None))
    }

    /// Every repository of whose items something may follow, by the id that it gives.
    pub(crate) fn ids(&self) -> Vec<RepositoryId> {
        let named = [
            &self.repository,
            &self.sub_issue_repo,
            &self.parent_issue_repo,
            &self.blocked_issue_repo,
            &self.blocking_issue_repo,
        ];
        let sides = ["/new_repository/id", "/old_repository/id"];
        let sides = sides.into_iter().filter_map(|side| repository_id(self.changes.as_ref()?.pointer(side)?.as_u64()?));
        let mut ids: Vec<_> = named.into_iter().flatten().map(|named| named.id).collect();
        ids.extend(sides);
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Forgets what it says of repositories that its sender has no say about.
    pub(crate) fn restrict(&mut self, may: impl Fn(&RepositoryName) -> bool) {
        let elsewhere = [
            (&mut self.sub_issue, &mut self.sub_issue_repo),
            (&mut self.parent_issue, &mut self.parent_issue_repo),
            (&mut self.blocked_issue, &mut self.blocked_issue_repo),
            (&mut self.blocking_issue, &mut self.blocking_issue_repo),
        ];
        for (issue, repository) in elsewhere {
            if repository.as_ref().is_some_and(|repository| !may(&repository.full_name)) {
                (*issue, *repository) = (None, None);
            }
        }
        let lists = [&mut self.repositories, &mut self.repositories_added, &mut self.repositories_removed];
        for list in lists.into_iter().flatten() {
            list.retain(|repository| may(&repository.full_name));
        }
    }

    /// A list would be read as an object's fields in their order, so it is refused here.
    pub(crate) fn from_json(json: &[u8]) -> Result<Self, PayloadError> {
        match json.trim_ascii_start().first() {
            Some(b'{') => Ok(serde_json::from_slice(json)?),
            Some(b'[') => Err(PayloadError::NotAnObject),
            _ => Ok(serde_json::from_slice(json)?),
        }
    }
}

/// The id of a repository, if it can be one: what no queue takes is not one of GitHub's.
pub(crate) fn repository_id(id: u64) -> Option<RepositoryId> {
    (1..=LARGEST).contains(&id).then_some(RepositoryId(id))
}

/// The JSON of a body: the body, or what a form has in its field.
pub(crate) fn json_of<'b>(content_type: &str, body: &'b [u8]) -> Result<Cow<'b, [u8]>, PayloadError> {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => Ok(Cow::Borrowed(body)),
        "application/x-www-form-urlencoded" => {
            let field = form_urlencoded::parse(body).find(|(name, _)| name == "payload");
            match field.ok_or(PayloadError::NoPayloadField)? {
                (_, Cow::Borrowed(json)) => Ok(Cow::Borrowed(json.as_bytes())),
                (_, Cow::Owned(json)) => Ok(Cow::Owned(json.into_bytes())),
            }
        }
        _ => Err(PayloadError::ContentType(essence.chars().take(100).collect())),
    }
}

/// An unexpected type is an absent field: GitHub adds and changes, and an accepted delivery beats a strict one.
///
/// What has few fields of its own is read where it stands; the rest of it is passed over, not built.
fn lenient<'de, D: Deserializer<'de>, T: Lenient>(deserializer: D) -> Result<Option<T>, D::Error> {
    IfRight::new().deserialize(deserializer)
}

/// What is read of a value of its own type; a value of any other type is none.
trait Lenient: Sized {
    fn of_text(_: &str) -> Option<Self> {
        None
    }

    fn of_number(_: u64) -> Option<Self> {
        None
    }

    fn of_flag(_: bool) -> Option<Self> {
        None
    }

    fn of_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut left = MOST_VALUES;
        while list.next_element_seed(Bounded { left: &mut left })?.is_some() {}
        Ok(None)
    }

    fn of_object<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut left = MOST_VALUES;
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(Bounded { left: &mut left })?;
        }
        Ok(None)
    }
}

/// Reads a value if it is of the right type.
struct IfRight<T>(PhantomData<T>);

impl<T> IfRight<T> {
    fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Lenient> DeserializeSeed<'de> for IfRight<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Lenient> Visitor<'de> for IfRight<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Option<T>, E> {
        Ok(T::of_flag(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Option<T>, E> {
        Ok(T::of_number(value))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_str<E>(self, value: &str) -> Result<Option<T>, E> {
        Ok(T::of_text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Option<T>, A::Error> {
        T::of_list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
        T::of_object(map)
    }
}

impl Lenient for u64 {
    fn of_number(number: u64) -> Option<Self> {
        Some(number)
    }
}

impl Lenient for RepositoryId {
    fn of_number(number: u64) -> Option<Self> {
        repository_id(number)
    }
}

impl Lenient for bool {
    fn of_flag(flag: bool) -> Option<Self> {
        Some(flag)
    }
}

impl Lenient for String {
    fn of_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl Lenient for RepositoryName {
    fn of_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Lenient for Numbered {
    fn of_object<'de, A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        Ok(only(map, "number")?.map(|number| Self { number }))
    }
}

impl Lenient for Sender {
    fn of_object<'de, A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        Ok(only(map, "login")?.map(|login| Self { login }))
    }
}

impl Lenient for Account {
    fn of_object<'de, A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        Ok(only(map, "login")?.map(|login| Self { login }))
    }
}

impl Lenient for Installation {
    fn of_object<'de, A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        Ok(Some(Self { account: only(map, "account")? }))
    }
}

impl Lenient for Label {
    fn of_object<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let (mut id, mut name) = (None, None);
        while let Some(field) = next_of(&mut map, &["id", "name"])? {
            match field {
                0 => id = map.next_value_seed(IfRight::new())?,
                _ => name = map.next_value_seed(IfRight::new())?,
            }
        }
        Ok(id.zip(name).map(|(id, name)| Self { id, name }))
    }
}

impl Lenient for PayloadRepository {
    fn of_object<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let (mut id, mut full_name, mut private, mut default_branch) = (None, None, Some(false), None);
        while let Some(field) = next_of(&mut map, &["id", "full_name", "private", "default_branch"])? {
            match field {
                0 => id = map.next_value_seed(IfRight::new())?,
                1 => full_name = map.next_value_seed(IfRight::new())?,
                2 => private = map.next_value_seed(IfRight::new())?,
                _ => default_branch = map.next_value_seed(IfRight::new())?,
            }
        }
        let needed = id.zip(full_name).zip(private);
        Ok(needed.map(|((id, full_name), private)| Self { id, full_name, private, default_branch }))
    }
}

/// Entry by entry: what is no repository is left out alone. Of too many none is kept.
impl Lenient for Vec<PayloadRepository> {
    fn of_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let (mut found, mut left) = (Self::new(), MOST_VALUES);
        while let Some(entry) = list.next_element_seed(IfRight::<PayloadRepository>::new())? {
            left = left.saturating_sub(1);
            found.extend(entry.filter(|_| left > 0));
        }
        Ok((left > 0).then_some(found))
    }
}

/// The one field of an object that is asked for.
fn only<'de, T: Lenient, A: MapAccess<'de>>(mut map: A, name: &str) -> Result<Option<T>, A::Error> {
    let mut found = None;
    while next_of(&mut map, &[name])?.is_some() {
        found = map.next_value_seed(IfRight::new())?;
    }
    Ok(found)
}

/// The next of some fields, by its place among them; what comes before it is passed over.
fn next_of<'de, A: MapAccess<'de>>(map: &mut A, names: &[&str]) -> Result<Option<usize>, A::Error> {
    while let Some(place) = map.next_key_seed(PlaceAmong(names))? {
        if place.is_some() {
            return Ok(place);
        }
        map.next_value::<IgnoredAny>()?;
    }
    Ok(None)
}

/// Reads a name as its place among others.
struct PlaceAmong<'n>(&'n [&'n str]);

impl<'de> DeserializeSeed<'de> for PlaceAmong<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'de> Visitor<'de> for PlaceAmong<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|known| *known == name))
    }
}

/// What is kept as it is, and may have any number of values: of too many, or of what cannot be read, none is kept.
fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Ok(values(<&RawValue>::deserialize(deserializer)?.get()).unwrap_or_default())
}

/// A JSON text as values; none if there are more than [`MOST_VALUES`], or deeper than [`DEEPEST`].
pub(crate) fn values(text: &str) -> serde_json::Result<Option<Value>> {
    let mut left = MOST_VALUES;
    let value = Bounded { left: &mut left }.deserialize(&mut serde_json::Deserializer::from_str(text))?;
    Ok((left > 0 && !is_deeper_than(DEEPEST, &value)).then_some(value))
}

fn is_deeper_than(levels: usize, value: &Value) -> bool {
    match value {
        Value::Array(values) => levels == 0 || values.iter().any(|value| is_deeper_than(levels - 1, value)),
        Value::Object(fields) => levels == 0 || fields.values().any(|value| is_deeper_than(levels - 1, value)),
        _ => false,
    }
}

/// The most values in one field; GitHub's largest have some thousands. A field with more counts as absent: as values in
/// memory, a body of nothing but `[0,0,…` would be twenty times its size.
const MOST_VALUES: usize = 100_000;

/// The most lists and objects within each other in what may be kept; GitHub's deepest have five. Readers take 128, and what
/// is kept ends within others: an entry of the inbox, a record.
const DEEPEST: usize = 64;

/// Reads a value while there is room, and passes over the rest.
struct Bounded<'a> {
    left: &'a mut usize,
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        *self.left = self.left.saturating_sub(1);
        if *self.left == 0 {
            return IgnoredAny::deserialize(deserializer).map(|_| Value::Null);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number beyond all bounds"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(Bounded { left: self.left })? {
            if *self.left > 0 {
                values.push(value);
            }
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(Bounded { left: self.left })?;
            if *self.left > 0 {
                values.insert(key, value);
            }
        }
        Ok(Value::Object(values))
    }
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
    fn an_object_counts_as_absent_without_what_it_needs() {
        let repository = |text: &str| {
            let body = format!("{{\"repository\":{text},\"issue\":{{\"number\":7}}}}");
            let payload = Payload::read("application/json", body.as_bytes()).unwrap();
            assert_eq!(payload.issue.unwrap().number, 7, "what comes behind is read: {text}");
            payload.repository.map(|found| (found.id.0, found.full_name.to_string(), found.private))
        };
        let found = |private: bool| Some((9, "o/r".to_owned(), private));
        let private = r#"{"owner":{"id":1},"id":9,"private":true,"full_name":"o/r","default_branch":null}"#;
        assert_eq!(repository(private), found(true));
        assert_eq!(repository(r#"{"full_name":"o/r","id":9}"#), found(false));
        assert_eq!(repository(r#"{"id":1,"full_name":"x/y","id":9,"full_name":"o/r"}"#), found(false), "the last word");
        for odd in [
            r#"{"id":9}"#,
            r#"{"id":"9","full_name":"o/r"}"#,
            r#"{"id":0,"full_name":"o/r"}"#,
            r#"{"id":9007199254740992,"full_name":"o/r"}"#,
            r#"{"id":9,"full_name":["o/r"]}"#,
            r#"{"id":9,"full_name":"o/../r"}"#,
            r#"{"id":9,"full_name":"o/r","private":"no"}"#,
            r#"{"id":9,"full_name":"o/r","private":null}"#,
            "null",
            "true",
            "-1.5",
            r#""o/r""#,
            r#"[{"id":9,"full_name":"o/r"}]"#,
        ] {
            assert_eq!(repository(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_list_is_read_entry_by_entry_as_one_repository_is() {
        let listed = |list: &str| {
            let body = format!("{{\"repositories_added\":{list},\"issue\":{{\"number\":7}}}}");
            let payload = Payload::read("application/json", body.as_bytes()).unwrap();
            assert_eq!(payload.issue.unwrap().number, 7, "what comes behind is read: {list:.100}");
            payload.repositories_added.map(|list| list.iter().map(|found| found.id.0).collect::<Vec<_>>())
        };
        let broken = r#"{"id":2,"full_name":"o/../r"},{"id":3,"full_name":"o/r","private":null},4,null,["o/r"],{}"#;
        let list = format!(r#"[{{"id":1,"full_name":"o/r"}},{broken},{{"id":5,"full_name":"o/s","private":true}}]"#);
        assert_eq!(listed(&list), Some(vec![1, 5]));
        for odd in ["null", "{}", "7", r#"{"id":1,"full_name":"o/r"}"#] {
            assert_eq!(listed(odd), None, "{odd}");
        }
        let many = |count: usize| format!("[{}null]", "{\"id\":1,\"full_name\":\"o/r\"},".repeat(count));
        assert_eq!(listed(&many(9_000)).unwrap().len(), 9_000);
        assert_eq!(listed(&many(MOST_VALUES)), None);
    }

    #[test]
    fn a_field_of_too_many_values_is_passed_over() {
        let body = format!("{{\"changes\":[{}0],\"issue\":{{\"number\":7}}}}", "0,".repeat(2 * MOST_VALUES));
        let payload = Payload::read("application/json", body.as_bytes()).unwrap();
        assert!(payload.changes.is_none() && payload.issue.unwrap().number == 7);
        let broken = br#"{"changes":{"body":{"from":"\ud800"}},"issue":{"number":7}}"#;
        let payload = Payload::read("application/json", broken).unwrap();
        assert!(payload.changes.is_none() && payload.issue.unwrap().number == 7);
    }

    #[test]
    fn what_is_no_payload_is_said_clearly() {
        let deep = format!("{{\"changes\":{}", "[".repeat(100_000));
        let deep_list = format!("{{\"action\":{}1{}}}", "[".repeat(1_000), "]".repeat(1_000));
        let deep_object = format!("{{\"number\":{}1{}}}", "{\"a\":".repeat(1_000), "}".repeat(1_000));
        for (content_type, body, expected) in [
            ("application/json", deep_list.as_str(), "not JSON"),
            ("application/json", &deep_object, "not JSON"),
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
