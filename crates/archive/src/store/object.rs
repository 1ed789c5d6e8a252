//! Objects in S3 or what speaks like it. A version is the ETag, and conditions are the store's own (`If-Match`,
//! `If-None-Match`). Links are small objects that hold the key they point to. There is no appending, so an entry of a
//! journal is folded in at once, by compare and swap.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{
    Error as ObjectError, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, UpdateVersion,
    aws::{AmazonS3Builder, S3ConditionalPut},
    path::Path,
};

use super::{Base, Condition, Durability, Fold, Journal, Mark, Store, Version, check_key};
use crate::{Error, ErrorKind, Result};

/// How often a fold is tried again after somebody else was quicker.
const FOLD_ATTEMPTS: usize = 100;

/// A prefix of a bucket.
#[derive(Debug, Clone)]
pub struct BucketStore {
    objects: Arc<dyn ObjectStore>,
    prefix: String,
}

impl BucketStore {
    /// Opens `s3://BUCKET/PREFIX`. Keys, region and endpoint come from the usual `AWS_…` variables; the parameters
    /// `endpoint`, `region` and `allow_http` of the URL go before them.
    pub fn open(url: &str) -> Result<Self> {
        let refused =
            |message: String| Error::new(ErrorKind::Refused, "open", url.split('?').next().unwrap_or(url), message);
        let parsed = url::Url::parse(url).map_err(|error| refused(error.to_string()))?;
        let bucket = parsed.host_str().ok_or_else(|| refused("expected s3://BUCKET/PREFIX".to_owned()))?;
        let mut builder =
            AmazonS3Builder::from_env().with_bucket_name(bucket).with_conditional_put(S3ConditionalPut::ETagMatch);
        for (name, value) in parsed.query_pairs() {
            builder = match &*name {
                "endpoint" => builder.with_endpoint(value),
                "region" => builder.with_region(value),
                "allow_http" => builder.with_allow_http(value == "true"),
                _ => {
                    return Err(refused(format!(
                        "unknown parameter `{name}`: expected endpoint, region or allow_http"
                    )));
                }
            };
        }
        let objects = builder.build().map_err(|error| refused(error.to_string()))?;
        Ok(Self::new(Arc::new(objects), parsed.path().trim_matches('/')))
    }

    /// A prefix of any object store that knows conditional puts.
    pub fn new(objects: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self { objects, prefix: prefix.to_owned() }
    }

    fn path(&self, key: &str) -> Result<Path> {
        check_key(key)?;
        // Names stay as they are, so that a list gives them back.
        let path =
            if self.prefix.is_empty() { Path::parse(key) } else { Path::parse(format!("{}/{key}", self.prefix)) };
        path.map_err(|error| Error::new(ErrorKind::Refused, "name", key, error.to_string()).with_source(error))
    }
}

#[async_trait]
impl Store for BucketStore {
    async fn get(&self, key: &str) -> Result<Option<(Bytes, Version)>> {
        let result = match self.objects.get(&self.path(key)?).await {
            Err(ObjectError::NotFound { .. }) => return Ok(None),
            result => result.map_err(|error| failed("read", key, error))?,
        };
        let version = Version(result.meta.e_tag.clone().unwrap_or_default());
        let bytes = result.bytes().await.map_err(|error| failed("read", key, error))?;
        Ok(Some((bytes, version)))
    }

    async fn put(&self, key: &str, bytes: Bytes, condition: Condition, _durability: Durability) -> Result<bool> {
        let mode = match condition {
            Condition::Any => PutMode::Overwrite,
            Condition::Absent => PutMode::Create,
            Condition::Matches(version) => PutMode::Update(UpdateVersion { e_tag: Some(version.0), version: None }),
        };
        let options = PutOptions { mode, ..PutOptions::default() };
        match self.objects.put_opts(&self.path(key)?, bytes.into(), options).await {
            Ok(_) => Ok(true),
            Err(
                ObjectError::AlreadyExists { .. } | ObjectError::Precondition { .. } | ObjectError::NotFound { .. },
            ) => Ok(false),
            Err(error) => Err(failed("write", key, error)),
        }
    }

    async fn delete(&self, key: &str) -> Result<()> {
        match self.objects.delete(&self.path(key)?).await {
            Ok(()) | Err(ObjectError::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("remove", key, error)),
        }
    }

    async fn delete_all(&self, folder: &str) -> Result<()> {
        let found = self.objects.list(Some(&self.path(folder)?)).map_ok(|object| object.location).boxed();
        let removed = self.objects.delete_stream(found).try_for_each(|_| std::future::ready(Ok(()))).await;
        removed.map_err(|error| failed("remove", folder, error))
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>> {
        let found = self.objects.list_with_delimiter(Some(&self.path(folder)?)).await;
        let found = found.map_err(|error| failed("list", folder, error))?;
        let paths = found.objects.into_iter().map(|object| object.location).chain(found.common_prefixes);
        Ok(paths.filter_map(|path| path.filename().map(str::to_owned)).collect())
    }

    async fn list_all(&self, folder: &str) -> Result<Vec<String>> {
        let root = self.path(folder)?;
        let below = |object: ObjectMeta| {
            let parts: Vec<_> = object.location.prefix_match(&root)?.collect();
            Some(parts.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join("/"))
        };
        let found: Vec<ObjectMeta> =
            self.objects.list(Some(&root)).try_collect().await.map_err(|error| failed("list", folder, error))?;
        Ok(found.into_iter().filter_map(below).collect())
    }

    async fn link(&self, key: &str, target: &str) -> Result<()> {
        check_key(target)?;
        self.put(key, target.to_owned().into(), Condition::Any, Durability::Durable).await.map(|_| ())
    }

    async fn read_link(&self, key: &str) -> Result<Option<String>> {
        Ok(self.get(key).await?.and_then(|(bytes, _)| String::from_utf8(bytes.to_vec()).ok()))
    }

    async fn journal(&self, key: &str, entry: Bytes, fold: Fold) -> Result<()> {
        for _ in 0..FOLD_ATTEMPTS {
            let (base, condition) = match self.get(key).await? {
                Some((bytes, version)) => (Some(bytes), Condition::Matches(version)),
                None => (None, Condition::Absent),
            };
            if self.put(key, fold(base, entry.clone())?, condition, Durability::Durable).await? {
                return Ok(());
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "append to", key, "others were quicker each time; try again"))
    }

    async fn read_journal(&self, key: &str, since: Option<&Mark>) -> Result<Journal> {
        let if_none_match = since.map(|mark| mark.generation.clone());
        let options = GetOptions { if_none_match, ..GetOptions::default() };
        let entries = Bytes::new();
        let result = match self.objects.get_opts(&self.path(key)?, options).await {
            Err(ObjectError::NotModified { .. }) => {
                return Ok(Journal { base: Base::Known, entries, mark: since.cloned() });
            }
            Err(ObjectError::NotFound { .. }) => return Ok(Journal { base: Base::Read(None), entries, mark: None }),
            result => result.map_err(|error| failed("read", key, error))?,
        };
        let mark = result.meta.e_tag.clone().map(|generation| Mark { generation, length: 0 });
        let bytes = result.bytes().await.map_err(|error| failed("read", key, error))?;
        Ok(Journal { base: Base::Read(Some(bytes)), entries, mark })
    }

    async fn free(&self) -> Result<Option<u64>> {
        Ok(None)
    }
}

fn failed(operation: &'static str, key: &str, error: ObjectError) -> Error {
    let kind = match &error {
        ObjectError::PermissionDenied { .. }
        | ObjectError::Unauthenticated { .. }
        | ObjectError::InvalidPath { .. } => ErrorKind::Refused,
        _ if is_full(&error) => ErrorKind::Full,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, operation, key, error.to_string()).with_source(error)
}

/// Whether a server or a disk behind it says that no space is left. S3 has no code for it: servers of one's own answer
/// 507, or 500 with one of these codes in the body, which the client only gives as text.
fn is_full(error: &ObjectError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if matches!(io, Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        cause = error.source();
    }
    let text = error.to_string();
    ["507 Insufficient Storage", "QuotaExceeded", "StorageFull"].iter().any(|code| text.contains(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_no_bucket_is_refused() {
        for url in ["s3://", "s3:///prefix", "s3://bucket/prefix?endpont=http://127.0.0.1:1", "s3://a b/"] {
            assert_eq!(BucketStore::open(url).unwrap_err().kind(), ErrorKind::Refused, "{url}");
        }
        let unknown = BucketStore::open("s3://bucket/?region=eu&endpont=x").unwrap_err().to_string();
        assert!(unknown.contains("`endpont`") && unknown.contains("expected endpoint"), "{unknown}");
    }

    #[test]
    fn a_full_server_is_told_from_one_that_is_away() {
        let of = |source: Box<dyn std::error::Error + Send + Sync>| {
            failed("write", "k", ObjectError::Generic { store: "S3", source }).kind()
        };
        assert_eq!(of(std::io::Error::from(std::io::ErrorKind::StorageFull).into()), ErrorKind::Full);
        assert_eq!(of("Server returned non-2xx status code: 507 Insufficient Storage: ".into()), ErrorKind::Full);
        assert_eq!(of("500 Internal Server Error: <Code>XMinioStorageFull</Code>".into()), ErrorKind::Full);
        assert_eq!(of("Server returned non-2xx status code: 503 Service Unavailable".into()), ErrorKind::Unavailable);
    }
}
