//! Images of comments, kept beside the records where the operator wants it: each under its item, so that whoever may see
//! the thread may see them, and named after its address, so that none is fetched twice.

use std::collections::HashSet;

use bytes::Bytes;
use gharvest_model::ItemId;
use ring::digest::{SHA256, digest};

use crate::{
    Archive, Error, ErrorKind, Result,
    store::{Condition, Durability},
};

/// Bytes of the digest that a name has, in hexadecimal digits twice as many.
const NAME_BYTES: usize = 16;

/// The name under which what lies at an address is kept.
pub fn attachment_name(address: &str) -> String {
    hex::encode(&digest(&SHA256, address.as_bytes()).as_ref()[..NAME_BYTES])
}

/// The type of an image that browsers show without running anything, by its first bytes; none of anything else. SVG is
/// left out: it is a document with scripts.
pub fn image_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

impl Archive {
    /// Keeps an image of an item under its name ([`attachment_name`]). A crash may lose it: it can be fetched again.
    pub async fn put_attachment(&self, item: ItemId, name: &str, bytes: Bytes) -> Result<()> {
        let key = key(item, name)?;
        self.store().put(&key, bytes, Condition::Any, Durability::MayBeLost).await.map(|_| ())
    }

    /// An image of an item.
    pub async fn attachment(&self, item: ItemId, name: &str) -> Result<Option<Bytes>> {
        Ok(self.store().get(&key(item, name)?).await?.map(|(bytes, _)| bytes))
    }

    /// Removes an item's images, with its record.
    pub(crate) async fn purge_attachments(&self, item: ItemId) -> Result<()> {
        self.store().delete_all(&folder(item)).await
    }

    /// The names of an item's images.
    pub async fn attachments(&self, item: ItemId) -> Result<HashSet<String>> {
        Ok(self.store().list(&folder(item)).await?.into_iter().collect())
    }
}

fn folder(item: ItemId) -> String {
    format!("repositories/{}/attachments/{}", item.repository, item.number)
}

fn key(item: ItemId, name: &str) -> Result<String> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if name.len() != 2 * NAME_BYTES || !name.bytes().all(is_digit) {
        return Err(Error::new(ErrorKind::Refused, "name", name, "not the name of an attachment"));
    }
    Ok(format!("{}/{name}", folder(item)))
}

#[cfg(test)]
mod tests {
    use gharvest_model::RepositoryId;

    use super::*;

    #[test]
    fn only_images_are_images() {
        assert_eq!(image_type(b"\x89PNG\r\n\x1a\n"), Some("image/png"));
        assert_eq!(image_type(b"\xff\xd8\xff\xe0"), Some("image/jpeg"));
        assert_eq!(image_type(b"GIF89a"), Some("image/gif"));
        assert_eq!(image_type(b"RIFF\x01\x02\x03\x04WEBPVP8 "), Some("image/webp"));
        for other in [&b""[..], b"<svg", b"<html>\x89PNG", b"GIF8", b"RIFF1234WAVE", b"PK"] {
            assert_eq!(image_type(other), None);
        }
    }

    #[tokio::test]
    async fn an_attachment_is_kept_by_its_address_and_no_other_name_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file:{}", folder.path().display());
        let archive = Archive::open(&url, &crate::Options::default()).await.unwrap();
        let item = ItemId { repository: RepositoryId(7), number: 12 };
        let (one, other) = (attachment_name("https://a/1"), attachment_name("https://a/2"));
        assert_ne!(one, other);
        assert!(archive.attachments(item).await.unwrap().is_empty());
        archive.put_attachment(item, &one, Bytes::from_static(b"picture")).await.unwrap();
        assert_eq!(archive.attachment(item, &one).await.unwrap().as_deref(), Some(&b"picture"[..]));
        assert_eq!(archive.attachment(item, &other).await.unwrap(), None);
        assert_eq!(archive.attachments(item).await.unwrap(), HashSet::from([one]));
        for name in
            ["", "..", "../../../keys.json", "x", &"A".repeat(32), &"0".repeat(31), &format!("{}/x", "0".repeat(30))]
        {
            assert_eq!(archive.attachment(item, name).await.unwrap_err().kind(), ErrorKind::Refused, "{name}");
        }
        archive.purge_record(item).await.unwrap();
        assert!(archive.attachments(item).await.unwrap().is_empty(), "they go with the record");
    }
}
