//! Requests to the engine: ready-made bytes through the official client's transport, and answers as JSON.
//!
//! Only requests that Elasticsearch 8 and 9 and OpenSearch 2 and 3 answer alike are sent. The transport has no retries
//! and no time limit of its own, so both are ours. Of several addresses each request takes the next; one that cannot be
//! connected to is passed over. The transport cannot give up connecting sooner than answering, so an address that has
//! not answered for some seconds is first asked for a connection and nothing else.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use elasticsearch::{
    auth::Credentials,
    cert::{Certificate, CertificateValidation},
    http::{
        Method, Url,
        headers::{CONTENT_TYPE, HeaderMap, HeaderValue},
        transport::{SingleNodeConnectionPool, Transport, TransportBuilder},
    },
};
use gharvest_search::{Error, ErrorKind, Result};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::{net::TcpStream, time::Instant};

/// How to reach the engine.
#[derive(Debug, Clone)]
pub struct Options {
    /// One or several addresses of one cluster, separated by commas.
    pub urls: String,
    /// For Basic authentication; empty for none.
    pub username: String,
    /// For Basic authentication.
    pub password: SecretString,
    /// An encoded API key (`id:secret` in base 64); empty for none. Goes before Basic.
    pub api_key: SecretString,
    /// A CA certificate in PEM; none for the usual ones.
    pub ca: Option<Vec<u8>>,
    /// Names of indices and aliases begin with it.
    pub prefix: String,
    /// Whether what is public stands in indices of its own as well.
    pub public: bool,
}

impl Options {
    /// An engine that asks nobody who they are.
    pub fn without_credentials(urls: &str, prefix: &str) -> Self {
        Self {
            urls: urls.to_owned(),
            username: String::new(),
            password: String::new().into(),
            api_key: String::new().into(),
            ca: None,
            prefix: prefix.to_owned(),
            public: false,
        }
    }
}

/// How long a request that is no search may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How long connecting may take.
const CONNECTING: Duration = Duration::from_secs(3);
/// So long after an answer an address need not be asked whether it is there.
const FRESH: Duration = Duration::from_secs(10);

/// The engine, as reached. Clones share what is known of its addresses.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    nodes: Arc<[Node]>,
    turn: Arc<AtomicUsize>,
    /// How long connecting may take.
    pub(crate) connecting: Duration,
}

/// One address.
#[derive(Debug)]
struct Node {
    transport: Transport,
    host: String,
    port: u16,
    answered: Mutex<Option<Instant>>,
}

impl Node {
    /// Whether it can be connected to, if it has not answered lately.
    async fn is_there(&self, patience: Duration) -> io::Result<()> {
        let answered = *self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if answered.is_some_and(|at| at.elapsed() < FRESH) {
            return Ok(());
        }
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        match tokio::time::timeout(patience, connecting).await {
            Ok(connected) => connected.map(drop),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no connection in time")),
        }
    }

    fn note(&self, answered: bool) {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = answered.then(Instant::now);
    }
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) product: Option<String>,
    pub(crate) body: Value,
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Unread {
    pub(crate) status: u16,
    product: Option<String>,
    pub(crate) body: Bytes,
}

impl Unread {
    pub(crate) fn is_success(&self) -> bool {
        is_success(self.status)
    }
}

impl From<Unread> for Answer {
    fn from(Unread { status, product, body }: Unread) -> Self {
        // A 413 has no body, and a proxy's answers are no JSON.
        Self { status, product, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
    }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

impl Answer {
    /// The engine's own reason.
    pub(crate) fn reason(&self) -> String {
        let text = |pointer: &str| self.body.pointer(pointer).and_then(Value::as_str);
        let root = text("/error/root_cause/0/reason").or_else(|| text("/error/reason")).or_else(|| text("/error"));
        match (text("/error/type"), root) {
            (Some(kind), Some(reason)) => format!("{}: {kind}: {reason}", self.status),
            (None, Some(reason)) => format!("{}: {reason}", self.status),
            _ => format!("status {}", self.status),
        }
    }

    /// The answer if it is a success, an error otherwise.
    pub(crate) fn success(self, operation: &'static str) -> Result<Value> {
        if is_success(self.status) { Ok(self.body) } else { Err(self.error(operation)) }
    }

    /// The error that a refusal is.
    pub(crate) fn error(&self, operation: &'static str) -> Error {
        let reason = self.reason();
        let error = |kind, message: String| Error::new(kind, operation, message);
        match self.status {
            401 => error(
                ErrorKind::Refused,
                format!(
                    "the engine does not know these credentials ({reason}); set [search] username and password, or api_key"
                ),
            ),
            403 => error(
                ErrorKind::Refused,
                format!(
                    "these credentials may not do that ({reason}); they need monitor on the cluster, and manage, read and write on the indices of [search] index_prefix"
                ),
            ),
            404 => error(ErrorKind::Corrupt, format!("an index is missing ({reason}); rebuild the index")),
            429 | 502 | 503 => {
                error(ErrorKind::Unavailable, format!("the engine is busy ({reason}); it is asked again later"))
            }
            504 => error(ErrorKind::TimedOut, format!("the engine took too long ({reason})")),
            _ => error(ErrorKind::Refused, format!("the engine refused the request ({reason})")),
        }
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Refused, "open", message)
}

impl Node {
    fn new(options: &Options, url: Url) -> Result<Self> {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or_default();
        let pool = SingleNodeConnectionPool::new(url);
        let mut builder = TransportBuilder::new(pool).disable_proxy().enable_meta_header(false);
        if !options.api_key.expose_secret().is_empty() {
            builder = builder.auth(Credentials::EncodedApiKey(options.api_key.expose_secret().to_owned()));
        } else if !options.username.is_empty() {
            let password = options.password.expose_secret().to_owned();
            builder = builder.auth(Credentials::Basic(options.username.clone(), password));
        }
        if let Some(pem) = &options.ca {
            let certificate = Certificate::from_pem(pem)
                .map_err(|error| invalid(format!("[search] ca_file holds no certificate in PEM: {error}")))?;
            builder = builder.cert_validation(CertificateValidation::Full(certificate));
        }
        let transport = builder.build().map_err(|error| invalid(format!("the client cannot be made: {error}")))?;
        Ok(Self { transport, host, port, answered: Mutex::default() })
    }
}

impl Client {
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let urls: Vec<Url> = options
            .urls
            .split(',')
            .map(|text| Url::parse(text.trim()).map_err(|error| invalid(format!("[search] url {text:?}: {error}"))))
            .collect::<Result<_>>()?;
        let nodes: Arc<[Node]> = urls.into_iter().map(|url| Node::new(options, url)).collect::<Result<_>>()?;
        Ok(Self { nodes, turn: Arc::default(), connecting: CONNECTING })
    }

    /// Sends a request; any answer is one.
    pub(crate) async fn ask(
        &self,
        operation: &'static str,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
        timeout: Duration,
    ) -> Result<Answer> {
        Ok(self.send(operation, method, path, body, timeout).await?.into())
    }

    /// The same, for who reads long answers as what they are.
    pub(crate) async fn send(
        &self,
        operation: &'static str,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
        timeout: Duration,
    ) -> Result<Unread> {
        let mut headers = HeaderMap::new();
        headers.insert("x-opaque-id", HeaderValue::from_static("gharvest"));
        let bytes = body.map(|(content_type, bytes)| {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            bytes
        });
        let mut left = self.nodes.len();
        let (node, response) = loop {
            left -= 1;
            let node = &self.nodes[self.turn.fetch_add(1, Ordering::Relaxed) % self.nodes.len()];
            // Whoever was not connected to has done nothing, so any request may go to the next.
            match node.is_there(self.connecting).await {
                Err(_) if left > 0 => continue,
                Err(error) => return Err(unreachable_engine(operation, &error, false)),
                Ok(()) => {}
            }
            let (headers, bytes) = (headers.clone(), bytes.clone());
            match node.transport.send(method, path, headers, None::<&()>, bytes, Some(timeout)).await {
                Ok(response) => break (node, response),
                Err(error) => {
                    node.note(false);
                    if left == 0 || !is_connect(&error) {
                        return Err(unreachable_engine(operation, &error, error.is_timeout()));
                    }
                }
            }
        };
        node.note(true);
        let status = response.status_code().as_u16();
        let product =
            response.headers().get("x-elastic-product").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = response.bytes().await;
        let body = body.map_err(|error| unreachable_engine(operation, &error, error.is_timeout()))?;
        Ok(Unread { status, product, body })
    }

    /// Sends JSON and wants a success.
    pub(crate) async fn json(
        &self,
        operation: &'static str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value> {
        self.ask(operation, method, path, body.map(json_body), TIMEOUT).await?.success(operation)
    }

    /// The same, where 404 is nothing.
    pub(crate) async fn find(
        &self,
        operation: &'static str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Option<Value>> {
        let answer = self.ask(operation, method, path, body.map(json_body), TIMEOUT).await?;
        if answer.status == 404 { Ok(None) } else { answer.success(operation).map(Some) }
    }
}

pub(crate) fn json_body(value: &Value) -> (&'static str, Bytes) {
    ("application/json", Bytes::from(value.to_string()))
}

fn is_connect(error: &elasticsearch::Error) -> bool {
    chain(error).filter_map(|error| error.downcast_ref::<reqwest::Error>()).any(reqwest::Error::is_connect)
}

/// An error and what caused it.
fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

fn unreachable_engine(operation: &'static str, error: &(dyn std::error::Error + 'static), timed_out: bool) -> Error {
    let kind = if timed_out { ErrorKind::TimedOut } else { ErrorKind::Unavailable };
    // The cause stands last: a certificate of an unknown CA, a refused connection.
    let cause = chain(error).last().map(ToString::to_string).unwrap_or_default();
    let advice = if cause.contains("certificate") {
        "set [search] ca_file to the CA that signed the engine's certificate, and use the name that it was made for"
    } else {
        "is [search] url right, and the engine up?"
    };
    Error::new(kind, operation, format!("the engine does not answer: {error}: {cause}; {advice}"))
}
