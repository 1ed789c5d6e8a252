//! The file of a snapshot: written from a queue of objects, read and checked object by object.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, BufWriter, Read},
    path::Path,
};

use bytes::Bytes;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use tokio::sync::mpsc;

use super::{FORMAT, Manifest};

const MANIFEST: &str = "MANIFEST.json";
/// An object larger than this is no object of ours: bounds what a damaged snapshot can make us read.
const LARGEST: u64 = 2 << 30;

pub(super) fn hash(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

/// Writes everything that comes through the queue, and the manifest of it.
pub(super) fn write(
    path: &Path,
    mut queue: mpsc::Receiver<(String, Bytes)>,
    archive: String,
    created_at: Timestamp,
) -> io::Result<Manifest> {
    let file = BufWriter::new(File::create(path)?);
    let mut packed = zstd::Encoder::new(file, 6)?;
    // Hashes cover the objects; this covers what lies between them, and the manifest itself.
    packed.include_checksum(true)?;
    let mut tar = tar::Builder::new(packed);
    let mut manifest = Manifest { format: FORMAT, archive, created_at, records: 0, bytes: 0, objects: BTreeMap::new() };
    while let Some((key, bytes)) = queue.blocking_recv() {
        append(&mut tar, &key, &bytes)?;
        manifest.records += u64::from(key.contains("/items/"));
        manifest.bytes += bytes.len() as u64;
        manifest.objects.insert(key, hash(&bytes));
    }
    append(&mut tar, MANIFEST, &serde_json::to_vec(&manifest)?)?;
    let file = tar.into_inner()?.finish()?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(manifest)
}

fn append(tar: &mut tar::Builder<impl io::Write>, key: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, key, bytes)
}

/// Reads the objects one by one, and at the end the manifest, which must agree.
pub(super) fn read(path: &Path, each: &mut dyn FnMut(&str, Vec<u8>) -> io::Result<()>) -> io::Result<Manifest> {
    let damaged = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut tar = tar::Archive::new(zstd::Decoder::new(BufReader::new(File::open(path)?))?);
    let mut found = BTreeMap::new();
    let mut manifest: Option<Manifest> = None;
    for entry in tar.entries()? {
        let mut entry = entry?;
        let key = entry.path()?.to_str().map(str::to_owned).ok_or_else(|| damaged("a name is not text".to_owned()))?;
        if entry.size() > LARGEST {
            return Err(damaged(format!("`{key}` is larger than anything an archive holds")));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        if key == MANIFEST {
            manifest = Some(serde_json::from_slice(&bytes)?);
            continue;
        }
        found.insert(key.clone(), hash(&bytes));
        each(&key, bytes)?;
    }
    // To the end of the stream, where its checksum stands; tar stops reading before it.
    io::copy(&mut tar.into_inner().take(LARGEST), &mut io::sink())?;
    let manifest = manifest.ok_or_else(|| damaged("it is not whole: the manifest is missing".to_owned()))?;
    if manifest.format > FORMAT {
        return Err(damaged(format!("format {} is newer than this program's {FORMAT}", manifest.format)));
    }
    let keys = manifest.objects.keys().chain(found.keys());
    match keys.into_iter().find(|key| manifest.objects.get(*key) != found.get(*key)) {
        Some(key) => Err(damaged(format!("`{key}` is not as the manifest says"))),
        None => Ok(manifest),
    }
}
