//! Who asks, and what they may see and do.
//!
//! - Bound to loopback where no API key was ever made and no setting tells of a proxy, everything is allowed to whoever
//!   reaches the port, that is, to people on this machine. Three things could borrow their reach: another website by
//!   posting from their browser (refused by `Origin` and `Sec-Fetch-Site`), a name rebound to 127.0.0.1 (refused by
//!   `Host`), and a proxy on this machine (told by `X-Forwarded-For`, `Forwarded` or the `Host` that it passes on).
//! - Otherwise an API key decides (`Authorization: Bearer KEY`, or Basic with the key as the password, which browsers
//!   can ask for), or a user named by a trusted proxy's header. Without either, `[web] anonymous` says what is shown.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::Engine;
use gharvest_archive::ApiKey;
use gharvest_model::{RepositoryId, RepositoryName, record::Visibility};
use gharvest_search::Access;
use gharvest_service_kit::settings::{Anonymous, WebSettings};

use crate::{
    data_access::any_private,
    error::{ApiError, ApiResult},
    live::Client,
    pages,
    state::WebState,
};

/// What a key allows, each role including those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Search, read, listen.
    Read,
    /// And retry, pause, track.
    Operate,
    /// And remove and purge.
    Admin,
}

impl Role {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "read" => Some(Self::Read),
            "operate" => Some(Self::Operate),
            "admin" => Some(Self::Admin),
            _ => None,
        }
    }
}

/// Which private repositories somebody may read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Private {
    /// Those with these ids, and those that have one of these names now, see [`RepositoryName::key`].
    Some {
        ids: Vec<RepositoryId>,
        names: Vec<String>,
    },
    All,
}

impl Private {
    const NONE: Self = Self::Some { ids: Vec::new(), names: Vec::new() };
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    role: Option<Role>,
    private: Private,
}

impl Caller {
    /// The person at this machine, or a composition calling directly: may do everything.
    pub fn local() -> Self {
        Self { role: Some(Role::Admin), private: Private::All }
    }

    /// Somebody without a key, where public things are shown to everybody.
    pub fn public() -> Self {
        Self { role: Some(Role::Read), private: Private::NONE }
    }

    /// Somebody without a key, where nothing is shown to them.
    pub fn stranger() -> Self {
        Self { role: None, private: Private::NONE }
    }

    fn with_key(key: &ApiKey) -> Self {
        let private = if key.private.iter().any(|name| name == "*") {
            Private::All
        } else {
            let names = key.private.iter().map(|name| name.to_ascii_lowercase()).collect();
            Private::Some { ids: key.repositories.clone(), names }
        };
        Self { role: Role::parse(&key.role), private }
    }

    /// Whether the caller has at least this role.
    pub fn is(&self, role: Role) -> bool {
        self.role >= Some(role)
    }

    /// An error unless the caller has at least this role.
    pub fn require(&self, role: Role) -> ApiResult<()> {
        let word = match role {
            Role::Read => "read",
            Role::Operate => "operate",
            Role::Admin => "admin",
        };
        match self.is(role) {
            true => Ok(()),
            false if self.role.is_none() => Err(unauthorized()),
            false => Err(ApiError::forbidden(format!("this needs a key with the role `{word}`"))),
        }
    }

    /// Whether the caller may see a repository, or a thread of it. `name` is the one that the repository has now.
    pub fn sees(&self, visibility: Visibility, id: RepositoryId, name: &RepositoryName) -> bool {
        visibility == Visibility::Public || self.sees_private(id, Some(name))
    }

    /// Whether the caller may see what is private of a repository; `name` as far as it is known.
    pub fn sees_private(&self, id: RepositoryId, name: Option<&RepositoryName>) -> bool {
        match &self.private {
            Private::Some { ids, names } => ids.contains(&id) || name.is_some_and(|name| names.contains(&name.key())),
            Private::All => true,
        }
    }

    /// Whether nothing is hidden from the caller.
    pub fn sees_everything(&self) -> bool {
        self.private == Private::All
    }

    /// What a search may find.
    pub async fn search_access(&self, state: &WebState) -> ApiResult<Access> {
        if self.sees_everything() {
            return Ok(Access::All);
        }
        let standings = state.standings().await?;
        let named = standings.iter().filter(|(id, known)| self.sees_private(**id, known.name()));
        let mut and: Vec<RepositoryId> = named.map(|(id, _)| *id).collect();
        and.sort_unstable();
        let except = self.hidden(state).await?;
        Ok(if and.is_empty() && except.is_empty() { Access::Public } else { Access::Some { and, except } })
    }

    /// The repositories that the caller may not see, by id, tracked or archived only: what documents, events and jobs say
    /// of them may be from before they became private.
    pub(crate) async fn hidden(&self, state: &WebState) -> ApiResult<Vec<RepositoryId>> {
        if self.sees_everything() {
            return Ok(Vec::new());
        }
        let standings = state.standings().await?;
        let hidden = standings.iter().filter(|(id, known)| !known.is_seen_by(self, **id));
        let mut ids: Vec<RepositoryId> = hidden.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        Ok(ids)
    }
}

pub(crate) fn unauthorized() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "this needs an API key: `gharvest keys add` makes one")
}

/// Refuses an address that others can reach while nothing says who they may be.
///
/// `keys` are none if none was ever made. The error is a sentence that names what to set.
pub fn check_listen(settings: &WebSettings, keys: Option<&[ApiKey]>) -> Result<(), String> {
    if is_local_only(settings, keys) {
        tracing::info!(
            listen = settings.listen,
            "Whoever reaches this address may do everything, because no API key was ever made. A proxy on this machine \
             that lets others in must send X-Forwarded-For, and wants a key made first: `gharvest keys add`"
        );
    }
    let has_keys = keys.is_some_and(|keys| !keys.is_empty());
    let by_proxy = !settings.user_header.is_empty() && !settings.trusted_proxies.is_empty();
    if is_loopback(&settings.listen) || has_keys || by_proxy || settings.anonymous == Anonymous::Public {
        return Ok(());
    }
    Err(format!(
        "[web] listen = \"{}\" can be reached by others, and there is no API key: make one with `gharvest keys add`, \
         or set [web] anonymous = \"public\" to show public threads to everybody, or listen on 127.0.0.1",
        settings.listen
    ))
}

fn is_loopback(listen: &str) -> bool {
    match listen.parse::<SocketAddr>() {
        Ok(address) => address.ip().is_loopback(),
        Err(_) => listen.rsplit_once(':').is_some_and(|(host, _)| host == "localhost"),
    }
}

/// Finds out who asks, and turns away requests that other websites cause. Runs before every route but the open ones.
pub(crate) async fn authenticate(State(state): State<WebState>, mut request: Request, next: Next) -> Response {
    // Who asks stands in the archive: a probe of whether this process lives must not depend on it.
    if is_open_path(request.uri().path()) {
        return next.run(request).await;
    }
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let asked = (request.headers(), request.uri().host(), request.method());
    let keys = state.keys().await.map_err(ApiError::from);
    let identified = keys.and_then(|keys| Ok((identify(&state.settings, keys.as_deref(), asked, peer)?, keys)));
    let ((caller, client), keys) = match identified {
        Ok(identified) => identified,
        Err(error) => return pages::error_for(request.uri().path(), &error, &state),
    };
    if !caller.is(Role::Read) {
        return pages::error_for(request.uri().path(), &unauthorized(), &state);
    }
    if request.uri().path() == "/metrics"
        && let Err(error) = check_metrics(&state, &caller).await
    {
        return error.into_response();
    }
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(client);
    request.extensions_mut().insert(keys);
    next.run(request).await
}

/// Metrics name repositories in their labels, and cannot leave some out.
async fn check_metrics(state: &WebState, caller: &Caller) -> ApiResult<()> {
    caller.require(Role::Operate)?;
    if !caller.sees_everything() && any_private(state).await? {
        return Err(ApiError::forbidden("metrics name private repositories: this needs a key that sees all of them"));
    }
    Ok(())
}

/// Paths that say nothing about anything mirrored; whatever else begins so is a page of an owner called like that.
fn is_open_path(path: &str) -> bool {
    let is_asset = path.strip_prefix("/-/assets/").is_some_and(|name| !name.contains('/'));
    is_asset || matches!(path, "/-/help/search" | "/healthz" | "/readyz")
}

/// Who asks, and to whom live readers are counted.
fn identify(
    settings: &WebSettings,
    keys: Option<&[ApiKey]>,
    (headers, uri_host, method): (&HeaderMap, Option<&str>, &Method),
    peer: Option<IpAddr>,
) -> ApiResult<(Caller, Client)> {
    let host = header_text(headers, header::HOST.as_str()).or(uri_host);
    // Browsers let every website open a WebSocket, and say which one it was.
    if !method.is_safe() || headers.contains_key("sec-websocket-key") {
        check_origin(headers, host, &settings.public_url)?;
    }
    let is_local = is_local_only(settings, keys);
    let keys = keys.unwrap_or_default();
    if let Some(secret) = credentials(headers) {
        let hash = hash_key(&secret);
        let key = keys.iter().find(|key| key.hash.eq_ignore_ascii_case(&hash));
        return key
            .map(|key| (Caller::with_key(key), Client(format!("key {}", key.name))))
            .ok_or_else(|| ApiError::new(StatusCode::UNAUTHORIZED, "this API key is not known, or was revoked"));
    }
    if let Some(user) = proxy_user(settings, headers, peer) {
        // Never a key of that name: who may choose a name would choose that key's.
        let user_of_name = keys.iter().find(|key| key.is_user() && key.name == user);
        return Ok((user_of_name.map_or_else(Caller::public, Caller::with_key), Client(format!("user {user}"))));
    }
    let client = Client(address(settings, headers, peer));
    let caller = if is_local { local_caller(host, headers, settings)? } else { anonymous(settings) };
    Ok((caller, client))
}

/// Where somebody asks from: the peer, or whom a trusted proxy names last.
fn address(settings: &WebSettings, headers: &HeaderMap, peer: Option<IpAddr>) -> String {
    let Some(peer) = peer else { return String::new() };
    let named = header_text(headers, "x-forwarded-for").and_then(|chain| chain.rsplit(',').next());
    match named.filter(|_| is_trusted(settings, peer)) {
        Some(named) => named.trim().to_owned(),
        None => peer.to_canonical().to_string(),
    }
}

fn is_trusted(settings: &WebSettings, peer: IpAddr) -> bool {
    settings.trusted_proxies.iter().any(|network| network.contains(peer))
}

fn anonymous(settings: &WebSettings) -> Caller {
    match settings.anonymous {
        Anonymous::Public => Caller::public(),
        Anonymous::None => Caller::stranger(),
    }
}

/// Whether nobody but people on this machine is expected: no key was ever made, and no setting tells of a proxy, which
/// brings others.
fn is_local_only(settings: &WebSettings, keys: Option<&[ApiKey]>) -> bool {
    let is_proxied = !settings.user_header.is_empty()
        || !settings.trusted_proxies.is_empty()
        || public_host(&settings.public_url).is_some_and(|host| !is_here(host));
    is_loopback(&settings.listen) && keys.is_none() && !is_proxied
}

/// Whether `host:port` names this machine.
fn is_here(host: &str) -> bool {
    let name = host_name(host);
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Everything is allowed to people on this machine, unless the name asked for shows that somebody else asks.
fn local_caller(host: Option<&str>, headers: &HeaderMap, settings: &WebSettings) -> ApiResult<Caller> {
    // No browser omits Host, so a request without one is not a rebound website.
    let Some(host) = host else { return Ok(Caller::local()) };
    let forwarded = headers.contains_key("x-forwarded-for") || headers.contains_key("forwarded");
    if is_here(host) {
        return Ok(if forwarded { anonymous(settings) } else { Caller::local() });
    }
    Err(ApiError::new(
        StatusCode::MISDIRECTED_REQUEST,
        format!("this address is not known as `{host}`: set [web] public_url, and make API keys, to serve it there"),
    ))
}

/// `host:port` of a base address.
fn public_host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.split('/').next().filter(|host| !host.is_empty())
}

/// The name in `name:port` or `[::1]:port`.
fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    host.split(':').next().unwrap_or(host)
}

/// Refuses changes that another website causes. Browsers say where a request comes from; tools say nothing.
fn check_origin(headers: &HeaderMap, host: Option<&str>, public_url: &str) -> ApiResult<()> {
    let refused = || ApiError::forbidden("changes are taken from this site's own pages and from tools only");
    if let Some(origin) = header_text(headers, "origin") {
        let theirs = origin.split_once("://").map_or(origin, |(_, host)| host);
        let ours = host.is_some_and(|host| host.eq_ignore_ascii_case(theirs))
            || public_host(public_url).is_some_and(|host| host.eq_ignore_ascii_case(theirs));
        return if ours { Ok(()) } else { Err(refused()) };
    }
    match header_text(headers, "sec-fetch-site") {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) => Err(refused()),
    }
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The secret of a Bearer or Basic `Authorization`.
fn credentials(headers: &HeaderMap) -> Option<String> {
    let (scheme, value) = header_text(headers, "authorization")?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(value.trim()).ok()?;
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(password.to_owned())
}

/// The form in which keys are stored: SHA-256, hex. Secrets are long and random, so one round is enough.
pub fn hash_key(secret: &str) -> String {
    hex::encode(ring::digest::digest(&ring::digest::SHA256, secret.as_bytes()))
}

/// A new secret for a key; none if the system gives no randomness.
pub fn new_key() -> Option<String> {
    let mut bytes = [0; 32];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).ok()?;
    Some(format!("gharvest_{}", hex::encode(bytes)))
}

fn proxy_user<'a>(settings: &WebSettings, headers: &'a HeaderMap, peer: Option<IpAddr>) -> Option<&'a str> {
    if settings.user_header.is_empty() {
        return None;
    }
    let peer = peer?;
    header_text(headers, &settings.user_header).filter(|user| is_trusted(settings, peer) && !user.is_empty())
}
