//! One request over the wire: sent once, read under a limit of time and size, decompressed, never followed.
//!
//! Octocrab carries the request as it is given ([`octocrab::Octocrab::send`]); its own client is not used, because
//! it adds a second `User-Agent` and logs every 5xx. Bodies are read piece by piece and unzipped on the way, so that
//! neither a long body nor a small one that unzips to gigabytes fills the memory.

use std::{
    io::{self, Write},
    time::Duration,
};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::{HeaderMap, Request, StatusCode, header};
use http_body::Body;
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use octocrab::{AuthState, OctoBody, Octocrab, OctocrabBuilder};
use tower::{BoxError, Service};

use crate::{Error, ErrorKind, Result, base::Base};

/// Answers of GitHub have about thirty headers.
const MOST_HEADERS: usize = 200;

/// An answer with its whole body.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Why there is no whole answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("no whole answer within {} s", .0.as_secs_f64())]
    Slow(Duration),
    #[error("the body is larger than {0} bytes; raise [github] max_body_bytes to take it")]
    TooLarge(usize),
    #[error("the body is not gzip as its header says, or breaks off")]
    Compression(#[source] io::Error),
    #[error("the body is compressed as `{0}`, which was not asked for")]
    Encoding(String),
    #[error("the connection failed")]
    Connection(#[source] BoxError),
}

/// Sends requests.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    octocrab: Octocrab,
    timeout: Duration,
    max_body_bytes: usize,
}

impl Transport {
    /// Over the network. Must be called inside a Tokio runtime, which octocrab's queue lives on.
    pub(crate) fn network(base: &Base, timeout: Duration, max_body_bytes: usize) -> Result<Self> {
        let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .http1_max_headers(MOST_HEADERS)
            .build::<_, OctoBody>(connector(base)?);
        Self::over(client, timeout, max_body_bytes)
    }

    /// Over any service, for tests without a network.
    pub(crate) fn over<S, B>(service: S, timeout: Duration, max_body_bytes: usize) -> Result<Self>
    where
        S: Service<Request<OctoBody>, Response = http::Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + Send + Sync + 'static,
        B::Error: Into<BoxError>,
    {
        let wrong = |error: BoxError| {
            Error::new(ErrorKind::Misconfigured, "client", "cannot be built: is there a Tokio runtime?")
                .with_source(error)
        };
        tokio::runtime::Handle::try_current().map_err(|error| wrong(error.into()))?;
        let octocrab = OctocrabBuilder::new_empty()
            .with_service(service)
            .with_auth(AuthState::None)
            .build()
            .map_err(|error| wrong(error.into()))?;
        Ok(Self { octocrab, timeout, max_body_bytes })
    }

    /// Sends once and reads the whole answer within the time limit.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Result<Reply, Failure> {
        let request = request.map(OctoBody::from);
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(reply) => reply,
            Err(_) => Err(Failure::Slow(self.timeout)),
        }
    }

    async fn exchange(&self, request: Request<OctoBody>) -> Result<Reply, Failure> {
        let response = self.octocrab.send(request).await.map_err(|error| Failure::Connection(error.into()))?;
        let (parts, mut body) = response.into_parts();
        let mut sink = Sink::for_encoding(&parts.headers, self.max_body_bytes)?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failure::Connection(error.into()))?;
            if let Some(data) = frame.data_ref() {
                sink.take(data)?;
            }
        }
        Ok(Reply { status: parts.status, headers: parts.headers, body: sink.finish()? })
    }
}

type Connector = hyper_rustls::HttpsConnector<hyper_util::client::legacy::connect::HttpConnector>;

/// Plain HTTP needs no certificates, so that a simulator or a proxy inside a container without them works.
fn connector(base: &Base) -> Result<Connector> {
    let wrong = |error: BoxError| {
        Error::new(ErrorKind::Misconfigured, "TLS", "no usable CA certificates on this system: install ca-certificates")
            .with_source(error)
    };
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = hyper_rustls::HttpsConnectorBuilder::new();
    let builder = if base.is_https() {
        builder.with_provider_and_native_roots(provider).map_err(|error| wrong(error.into()))?
    } else {
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(error.into()))?
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        builder.with_tls_config(tls)
    };
    Ok(builder.https_or_http().enable_http1().build())
}

/// Takes a body in, unzipping it on the way, up to a limit.
enum Sink {
    Plain(Bounded),
    Gzip { decoder: Box<MultiGzDecoder<Bounded>>, taken: usize, most: usize },
}

impl Sink {
    fn for_encoding(headers: &HeaderMap, most: usize) -> Result<Self, Failure> {
        let encoding = headers.get(header::CONTENT_ENCODING).map_or("", |value| value.to_str().unwrap_or("?").trim());
        let bounded = Bounded { bytes: Vec::new(), most, over: false };
        match encoding.to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Plain(bounded)),
            "gzip" | "x-gzip" => Ok(Self::Gzip { decoder: Box::new(MultiGzDecoder::new(bounded)), taken: 0, most }),
            other => Err(Failure::Encoding(crate::base::cut(other))),
        }
    }

    fn take(&mut self, data: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Plain(bounded) => bounded.write_all(data).map_err(|_| Failure::TooLarge(bounded.most)),
            Self::Gzip { decoder, taken, most } => {
                *taken += data.len();
                if *taken > *most {
                    return Err(Failure::TooLarge(*most));
                }
                decoder.write_all(data).map_err(|error| unzipping(error, decoder.get_ref()))
            }
        }
    }

    fn finish(self) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Plain(bounded) => Ok(bounded.bytes),
            // No body at all, as with a 304, is not a broken one.
            Self::Gzip { taken: 0, .. } => Ok(Vec::new()),
            Self::Gzip { mut decoder, .. } => {
                decoder.try_finish().map_err(|error| unzipping(error, decoder.get_ref()))?;
                Ok(std::mem::take(&mut decoder.get_mut().bytes))
            }
        }
    }
}

fn unzipping(error: io::Error, bounded: &Bounded) -> Failure {
    if bounded.over { Failure::TooLarge(bounded.most) } else { Failure::Compression(error) }
}

/// Bytes up to a limit.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
    over: bool,
}

impl Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + data.len() > self.most {
            self.over = true;
            return Err(io::Error::other("over the limit"));
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Failure {
    /// Whether asking again may help; a body that is too large stays so.
    pub(crate) fn is_worth_a_retry(&self) -> bool {
        !matches!(self, Self::TooLarge(_) | Self::Encoding(_))
    }

    /// What kind of error it is once retries are used up.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Slow(_) | Self::Connection(_) => ErrorKind::Unavailable,
            Self::TooLarge(_) | Self::Compression(_) | Self::Encoding(_) => ErrorKind::BadAnswer,
        }
    }

    /// What lies below, for the chain of errors.
    pub(crate) fn into_cause(self) -> Option<BoxError> {
        match self {
            Self::Connection(cause) => Some(cause),
            Self::Compression(cause) => Some(cause.into()),
            Self::Slow(_) | Self::TooLarge(_) | Self::Encoding(_) => None,
        }
    }

    /// A word for metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Slow(_) => "slow",
            Self::Connection(_) => "connection",
            Self::TooLarge(_) => "too_large",
            Self::Compression(_) | Self::Encoding(_) => "compression",
        }
    }
}
