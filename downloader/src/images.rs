//! Images of issues and comments, kept in the archive where the operator names hosts to fetch them from.
//!
//! Addresses come from strangers, so little is believed: only `https` to a named host (by name, default port), redirects
//! only to named hosts, no address of a private network whatever a name resolves to, no credentials, no proxy, a limit
//! of bytes and time, and nothing is kept whose first bytes are not those of an image that browsers show without
//! running anything. An image that cannot be had is tried again when its item is fetched again; it never fails the item.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, LazyLock},
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, stream};
use gharvest_archive::{Archive, attachment_name, image_type};
use gharvest_model::Record;
use regex::Regex;
use reqwest::{
    Client, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header, redirect,
};
use serde_json::Value;
use url::Host;

/// Which images are kept; none unless hosts are named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageOptions {
    /// Hosts, each with the beginning of a path or without: `github.com/user-attachments/assets/`.
    pub hosts: Vec<String>,
    /// The largest image, bytes.
    pub max_bytes: usize,
}

/// Redirects followed: GitHub sends from the address in a text to where the image lies.
const MOST_REDIRECTS: usize = 3;
/// Images of one item; a text of 65,536 characters may name a thousand.
const MOST_IMAGES: usize = 200;
/// Fetched at once, and how long one may take.
const AT_ONCE: usize = 4;
const LONGEST: Duration = Duration::from_secs(20);
/// How long all images of an item may take: live work waits behind them.
const LONGEST_ITEM: Duration = Duration::from_secs(60);

/// Fetches images from the hosts that are named.
#[derive(Debug)]
pub(crate) struct Images {
    client: Client,
    options: ImageOptions,
    scheme: &'static str,
}

impl Images {
    /// A fetcher, if there is anything to fetch.
    pub(crate) fn new(options: &ImageOptions) -> Option<Self> {
        Self::with(options, "https", Arc::new(PublicOnly))
    }

    fn with<R: Resolve + 'static>(options: &ImageOptions, scheme: &'static str, resolver: Arc<R>) -> Option<Self> {
        if options.hosts.is_empty() {
            return None;
        }
        let client = Client::builder()
            .user_agent("gharvest")
            .redirect(redirect::Policy::none())
            .no_proxy()
            .dns_resolver(resolver)
            .timeout(LONGEST)
            .build();
        let client = client.inspect_err(|error| tracing::error!(%error, "Images cannot be fetched")).ok()?;
        Some(Self { client, options: options.clone(), scheme })
    }

    /// Keeps the images that a thread shows and that are not kept yet.
    pub(crate) async fn keep(&self, archive: &Archive, record: &Record) -> gharvest_archive::Result<()> {
        let mut wanted: BTreeSet<Url> = texts(record).flat_map(addresses).filter(|url| self.allows(url)).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let known = archive.attachments(record.id()).await?;
        wanted.retain(|url| !known.contains(&attachment_name(url.as_str())));
        let fetched = stream::iter(wanted.into_iter().take(MOST_IMAGES)).map(|url| async move {
            match self.fetch(&url).await {
                Ok(bytes) => {
                    archive.put_attachment(record.id(), &attachment_name(url.as_str()), bytes.into()).await?;
                }
                Err(reason) => tracing::info!(item = %record.id(), %url, %reason, "Image is not kept"),
            }
            Ok(())
        });
        let all = fetched.buffer_unordered(AT_ONCE).try_collect();
        match tokio::time::timeout(LONGEST_ITEM, all).await {
            Ok(done) => done,
            Err(_) => {
                tracing::info!(item = %record.id(), "Images take long, and the rest is left for the next time");
                Ok(())
            }
        }
    }

    /// Whether an address is on a host that is named.
    fn allows(&self, url: &Url) -> bool {
        let Some(Host::Domain(host)) = url.host() else { return false };
        if url.scheme() != self.scheme || !url.username().is_empty() || url.password().is_some() {
            return false;
        }
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let place = format!("{host}{port}{}", url.path());
        self.options.hosts.iter().any(|allowed| {
            let (host, path) = allowed.split_once('/').unwrap_or((allowed, ""));
            place
                .strip_prefix(host)
                .is_some_and(|rest| rest.strip_prefix('/').is_some_and(|rest| rest.starts_with(path)))
        })
    }

    async fn fetch(&self, url: &Url) -> Result<Vec<u8>, String> {
        let mut url = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            if !self.allows(&url) {
                return Err(format!("it leads to {}, which is not among the hosts", url.host_str().unwrap_or("?")));
            }
            let response =
                self.client.get(url.clone()).send().await.map_err(|error| error.without_url().to_string())?;
            if !response.status().is_redirection() {
                return self.read(response).await;
            }
            let location = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
            url = location.and_then(|location| url.join(location).ok()).ok_or("it leads nowhere")?;
        }
        Err(format!("it was sent on more than {MOST_REDIRECTS} times"))
    }

    async fn read(&self, mut response: reqwest::Response) -> Result<Vec<u8>, String> {
        if !response.status().is_success() {
            return Err(format!("the host answers {}", response.status()));
        }
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| error.without_url().to_string())? {
            if bytes.len() + piece.len() > self.options.max_bytes {
                return Err(format!("it is larger than {} bytes", self.options.max_bytes));
            }
            bytes.extend_from_slice(&piece);
        }
        match image_type(&bytes) {
            Some(_) => Ok(bytes),
            None => Err("it is no PNG, JPEG, GIF or WebP".to_owned()),
        }
    }
}

/// Everything that was said in a thread.
fn texts(record: &Record) -> impl Iterator<Item = &str> {
    let said = record.core().into_iter().chain(&record.timeline).chain(&record.review_comments);
    said.filter_map(|value: &Value| value.get("body")?.as_str())
}

static ADDRESS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"https?://[^\s<>"'()\[\]\\`]+"#).expect("the pattern is constant"));

/// Every address in a text, in Markdown or in HTML.
fn addresses(text: &str) -> impl Iterator<Item = Url> {
    ADDRESS.find_iter(text).filter_map(|found| Url::parse(&found.as_str().replace("&amp;", "&")).ok())
}

/// Resolves names to addresses that everybody can reach, and to no others.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(format!("{} is in no public network", name.as_str()).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is one of the public Internet: RFC 6890 and the registries it names.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || matches!((a, b, c), (0 | 224.., ..) | (100, 64..=127, _) | (192, 0, 0) | (192, 88, 99) | (198, 18 | 19, _));
    !special
}

/// Only what is assigned to the public, and nothing that carries an IPv4 address inside.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let is_unicast = (first & 0xe000) == 0x2000;
    let special = first == 0x2002 || (first == 0x2001 && (second < 0x200 || second == 0xdb8)) || first == 0x3fff;
    is_unicast && !special
}

#[cfg(test)]
mod tests {
    use gharvest_archive::Options;
    use gharvest_model::{Kind, RepositoryId, record::RecordRepository};
    use serde_json::json;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and so on";

    /// Resolves everything to this machine.
    struct Here;

    impl Resolve for Here {
        fn resolve(&self, _: Name) -> Resolving {
            Box::pin(async { Ok(Box::new([SocketAddr::from(([127, 0, 0, 1], 0))].into_iter()) as Addrs) })
        }
    }

    fn options(hosts: &[&str]) -> ImageOptions {
        ImageOptions { hosts: hosts.iter().map(|host| (*host).to_owned()).collect(), max_bytes: 1000 }
    }

    /// A host of images; the last word of a path says what it answers.
    async fn host() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                assert!(!request.to_lowercase().contains("authorization"), "{request}");
                let path = request.split(' ').nth(1).unwrap().to_owned();
                let (status, location, body) = match path.rsplit('/').next().unwrap() {
                    "good" => ("200 OK", String::new(), PNG.to_vec()),
                    "page" => ("200 OK", String::new(), b"<svg onload=alert(1)>".to_vec()),
                    "large" => ("200 OK", String::new(), [PNG, &[0; 1000]].concat()),
                    "moved" => ("302 Found", "Location: /images/good\r\n".to_owned(), Vec::new()),
                    "loop" => ("302 Found", "Location: /images/loop\r\n".to_owned(), Vec::new()),
                    "away" => ("302 Found", format!("Location: http://other.test:{port}/good\r\n"), Vec::new()),
                    _ => ("404 Not Found", String::new(), Vec::new()),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\n{location}Content-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                // A reader that saw enough closes before the end.
                if stream.write_all(&[head.as_bytes(), &body].concat()).await.is_err() {
                    continue;
                }
            }
        });
        port
    }

    #[tokio::test]
    async fn images_of_named_hosts_are_kept_and_nothing_else() {
        let port = host().await;
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open(&format!("file:{}", folder.path().display()), &Options::default()).await.unwrap();
        let repository = RecordRepository { id: RepositoryId(1), full_name: "a/b".parse().unwrap() };
        let mut record = Record::new(repository, 7, Kind::Issue, jiff::Timestamp::UNIX_EPOCH);
        let base = format!("http://images.test:{port}");
        record.issue = Some(json!({"body": format!("![x]({base}/images/good) <img src=\"{base}/images/page\">")}));
        record.timeline = vec![
            json!({"event": "commented", "body": format!("{base}/images/large {base}/images/moved {base}/images/loop")}),
            json!({"event": "commented", "body": format!("{base}/other/good http://other.test:{port}/images/good")}),
            json!({"event": "commented", "body": format!("{base}/images/away {base}/images/none")}),
        ];
        let images = Images::with(&options(&[&format!("images.test:{port}/images/")]), "http", Arc::new(Here)).unwrap();
        for _ in 0..2 {
            images.keep(&archive, &record).await.unwrap();
        }
        let kept = archive.attachments(record.id()).await.unwrap();
        let expected = ["good", "moved"].map(|name| attachment_name(&format!("{base}/images/{name}")));
        assert_eq!(kept, expected.clone().into());
        assert_eq!(archive.attachment(record.id(), &expected[0]).await.unwrap().as_deref(), Some(PNG));
        let reason =
            async |name: &str| images.fetch(&format!("{base}/images/{name}").parse().unwrap()).await.unwrap_err();
        assert_eq!(reason("page").await, "it is no PNG, JPEG, GIF or WebP");
        assert_eq!(reason("large").await, "it is larger than 1000 bytes");
        assert_eq!(reason("loop").await, "it was sent on more than 3 times");
        assert_eq!(reason("away").await, "it leads to other.test, which is not among the hosts");
        assert_eq!(reason("none").await, "the host answers 404 Not Found");
    }

    #[tokio::test]
    async fn a_name_of_a_private_network_is_not_resolved() {
        let error = PublicOnly.resolve("localhost".parse().unwrap()).await.err().unwrap();
        assert_eq!(error.to_string(), "localhost is in no public network");
    }

    #[test]
    fn only_named_hosts_by_name_are_allowed() {
        let images = Images::new(&options(&["img.test", "github.com/user-attachments/assets/"])).unwrap();
        for (address, expected) in [
            ("https://img.test/1.png", true),
            ("https://IMG.test:443/1.png", true),
            ("https://github.com/user-attachments/assets/1", true),
            ("http://img.test/1.png", false),
            ("https://img.test:8443/1.png", false),
            ("https://img.test.evil/1.png", false),
            ("https://evilimg.test/1.png", false),
            ("https://user@img.test/1.png", false),
            ("https://github.com/settings/1", false),
            ("https://github.com/user-attachments/assets/../../settings", false),
            ("https://127.0.0.1/1.png", false),
            ("https://[::1]/1.png", false),
        ] {
            assert_eq!(images.allows(&address.parse().unwrap()), expected, "{address}");
        }
        assert!(Images::new(&ImageOptions::default()).is_none());
    }

    #[test]
    fn addresses_of_private_networks_are_none_of_the_publics() {
        for (address, expected) in [
            ("140.82.121.4", true),
            ("2606:50c0:8000::154", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.100.100.200", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("198.18.0.1", false),
            ("::1", false),
            ("::ffff:10.0.0.1", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("2002:0a00:0001::", false),
            ("2001:db8::1", false),
            ("64:ff9b::a00:1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
        }
    }
}
