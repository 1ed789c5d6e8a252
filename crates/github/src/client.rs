//! The loop of one request: wait for budget and pace, choose a token, send, judge, learn, and go on or answer.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use gharvest_model::{RepositoryName, record::API_VERSION};
use gharvest_state::State;
use http::{HeaderValue, Method, Request, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;
use serde_json::Value;
use url::Url;

use crate::{
    Answer, AppInstallation, Budget, Config, Error, ErrorKind, LONGEST_WAIT, PersonalToken, Purpose, Resource, Result,
    TokenReport, TokenUse,
    app::Installation,
    base::Base,
    clock::Clock,
    credential::{ANONYMOUS, Credential, Source},
    gate::{Gate, MOST_AT_ONCE, Narrowing},
    graphql::{GRAPHQL, Memory},
    limits::{Reading, date, ends_at, later, reset_time, scopes, until as until_then},
    resource::CORE,
    sharing::Sharing,
    sight::{Others, View},
    spending::Spending,
    spent::{Ledger, Speeds, Spent},
    tokens::{Closed, Seat, Token, Tokens, Trouble},
    transport::{Failure, Reply, Transport},
    verdict::{Limit, Sent, Verdict, judge, judge_refusal},
};

/// One for everything, because an ETag depends on it.
const ACCEPT: HeaderValue = HeaderValue::from_static("application/vnd.github+json");

/// How often one request is sent before a passing failure is taken for a lasting one.
const MOST_ATTEMPTS: u32 = 4;

/// How often GitHub may tell one request to wait before its job is given back; each token may tell it once more.
const MOST_LIMITS: usize = 5;

/// The longest wait before a retry.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// The one client of GitHub. Cheap to clone; all clones share budgets and limits.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) base: Base,
    transport: Transport,
    tokens: RwLock<Arc<Tokens>>,
    gate: Arc<Gate>,
    sharing: Sharing,
    clock: Clock,
    user_agent: HeaderValue,
    backoff: Duration,
    calls: AtomicU64,
    clock_ahead: Mutex<Option<SignedDuration>>,
    pub(crate) spent: Ledger,
    pub(crate) spending: Spending,
    pub(crate) graphql: Memory,
}

/// One request, before a token is chosen.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a Url,
    pub(crate) body: Bytes,
    /// The resource's name in metrics.
    pub(crate) name: &'static str,
    /// The budget that pays, or none for what is free.
    pub(crate) budget: Option<&'static str>,
    pub(crate) purpose: Purpose,
    /// The ETag, and the fingerprint of the token that it belongs to.
    pub(crate) etag: Option<(&'a str, &'a str)>,
    /// Whether passing failures are retried; if not, the caller has a better idea.
    pub(crate) patient: bool,
    /// Whose request it is; none where the address tells.
    pub(crate) repository: Option<&'a RepositoryName>,
    /// Whether a token that is shown it sees what else there is of the repository.
    pub(crate) tells_sight: bool,
}

impl Client {
    /// A client with budgets of its own. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] when an address, a token or the system's certificates cannot be used.
    pub fn new(config: Config) -> Result<Self> {
        Self::with_state(config, None)
    }

    /// A client that shares its budgets with the clients of other processes.
    pub fn with_state(config: Config, state: Option<Arc<dyn State>>) -> Result<Self> {
        Self::with_clock(config, state, Clock::system())
    }

    /// The same with a clock of one's own, for tests.
    pub fn with_clock(config: Config, state: Option<Arc<dyn State>>, clock: Clock) -> Result<Self> {
        let base = Base::parse(&config.api_url)?;
        let transport = Transport::network(&base, config.request_timeout, config.max_body_bytes)?;
        Self::over(transport, &config, state, clock)
    }

    /// The same over a transport of one's own.
    pub(crate) fn over(
        transport: Transport,
        config: &Config,
        state: Option<Arc<dyn State>>,
        clock: Clock,
    ) -> Result<Self> {
        let user_agent = HeaderValue::from_str(&config.user_agent).ok().filter(|value| !value.is_empty());
        let user_agent = user_agent.ok_or_else(|| {
            let message = "[github] user_agent must be plain text: GitHub refuses requests without one";
            Error::new(ErrorKind::Misconfigured, "settings", message)
        })?;
        let tokens = tokens_of(&config.tokens, &config.installations)?;
        let inner = Inner {
            base: Base::parse(&config.api_url)?,
            transport,
            graphql: Memory::new(tokens.len(), config.slow_graphql),
            tokens: RwLock::new(Arc::new(Tokens::new(tokens, config.reserve))),
            gate: Arc::new(Gate::new(config.concurrency, MOST_AT_ONCE, config.points_per_minute)),
            sharing: Sharing::new(state.clone()),
            clock,
            user_agent,
            backoff: config.backoff,
            calls: AtomicU64::new(0),
            clock_ahead: Mutex::default(),
            spent: Ledger::default(),
            spending: Spending::new(state),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Asks for one thing. Waits for budget and pace, retries what is worth it, and answers or fails.
    ///
    /// `etag` is one from an earlier [`crate::Found`]; it makes [`Answer::NotModified`] possible. It is sent only with
    /// the token that it was got with, which goes first while it has budget.
    ///
    /// # Errors
    /// See [`ErrorKind`]. Dropping the future gives everything back that it held.
    pub async fn get(&self, resource: &Resource, etag: Option<&str>, purpose: Purpose) -> Result<Answer> {
        let url = resource.address(&self.inner.base)?;
        let ask = Ask {
            method: Method::GET,
            url: &url,
            body: Bytes::new(),
            name: resource.name(),
            budget: resource.budget(),
            purpose,
            etag: etag.and_then(|etag| etag.split_once(':')),
            patient: true,
            repository: resource.repository(),
            tells_sight: resource.tells_sight(),
        };
        let answer = self.inner.ask(&ask, judge).await?;
        if let (Resource::Repository(_), Answer::Found(found)) = (resource, &answer)
            && let (Some(id), Some(name)) = (found.body["id"].as_u64(), found.body["full_name"].as_str())
        {
            self.inner.spent.learn_name(id, name);
        }
        Ok(answer)
    }

    /// Asks for what only an App itself may see: its hook's deliveries. None if there is no App. Costs no token's budget,
    /// and is not retried: whoever asks comes back.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub async fn get_as_app(&self, resource: &Resource) -> Result<Option<Answer>> {
        let inner = &self.inner;
        let tokens = inner.tokens();
        let installations = tokens.all().iter().filter_map(|token| match &*token.source {
            Source::Installation(installation) => Some(installation),
            _ => None,
        });
        let Some(installation) = installations.into_iter().next() else { return Ok(None) };
        let url = resource.address(&inner.base)?;
        let ask = Ask {
            method: Method::GET,
            url: &url,
            body: Bytes::new(),
            name: resource.name(),
            budget: None,
            purpose: Purpose::Scheduled,
            etag: None,
            patient: false,
            repository: None,
            tells_sight: false,
        };
        let permit = inner.gate.enter(ask.purpose).await;
        let now = inner.clock.now();
        let mut request = inner.request(&ask, None, None);
        request.headers_mut().insert(header::AUTHORIZATION, installation.proof(now));
        inner.calls.fetch_add(1, Ordering::Relaxed);
        let started = tokio::time::Instant::now();
        let reply = inner.transport.send(request).await;
        drop(permit);
        let took = started.elapsed();
        inner.count(&ask, &reply, took);
        let reply = reply.map_err(|failure| match inner.failed::<Answer>(&ask, failure) {
            Attempt::Again(error) | Attempt::Failed(error) | Attempt::Unseen(Err(error)) => error,
            Attempt::Done(_) | Attempt::Unseen(Ok(_)) | Attempt::ChooseAgain => {
                inner.error(&ask, ErrorKind::Unavailable, "not sent")
            }
        })?;
        match judge(&reply, &Sent { url: &url, base: &inner.base, fingerprint: ANONYMOUS, etag: None, now, took }) {
            Verdict::Done(answer) | Verdict::Unseen(Ok(answer)) => Ok(Some(answer)),
            Verdict::TokenRefused(reason) => Err(inner.error(&ask, ErrorKind::Unauthorized, &reason)),
            Verdict::Again(kind, reason) | Verdict::Failed(kind, reason) | Verdict::Unseen(Err((kind, reason))) => {
                Err(inner.error(&ask, kind, &reason))
            }
            Verdict::Limited(_) => {
                Err(inner.rate_limited(&ask, later(inner.clock.now(), SignedDuration::from_mins(1))))
            }
        }
    }

    /// Uses these tokens from now on, in place of those so far. A token that stays keeps its budget; requests in flight
    /// end with the token that they began with.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] when one cannot be used, or none is left for some work: then nothing changes.
    pub fn set_tokens(&self, tokens: &[PersonalToken], installations: &[AppInstallation]) -> Result<()> {
        let tokens = tokens_of(tokens, installations)?;
        let mut current = self.inner.tokens.write().expect("nothing panics while tokens are replaced");
        self.inner.graphql.allow(tokens.len());
        *current = Arc::new(current.succeeded_by(tokens));
        Ok(())
    }

    /// What each token is, and how it is as last heard of; [`Self::refresh_budgets`] asks GitHub.
    pub fn tokens(&self) -> Vec<TokenReport> {
        self.inner.tokens().reports(self.inner.clock.now())
    }

    /// The budgets of all tokens as last heard of; nothing of a token that was not used yet.
    pub fn budgets(&self) -> Vec<Budget> {
        self.inner.tokens().budgets(self.inner.clock.now())
    }

    /// The same of the tokens that such work may use: what its shares are taken of.
    pub fn budgets_for(&self, purpose: Purpose) -> Vec<Budget> {
        self.inner.tokens().budgets_for(purpose, self.inner.clock.now())
    }

    /// Calls an hour that such work can count on, of the tokens that it may use and GitHub accepts, once GitHub answered. A
    /// server without limits (GitHub Enterprise) tells none: there it is the pace that the client keeps by itself.
    pub fn calls_an_hour(&self, purpose: Purpose) -> u64 {
        if self.inner.tokens().have_no_limits(purpose, self.inner.clock.now()) {
            return self.inner.gate.points_an_hour();
        }
        let budgets = self.budgets_for(purpose);
        let core = budgets.iter().filter(|budget| budget.resource == CORE && budget.trouble.is_none());
        core.map(|budget| budget.limit).sum()
    }

    /// Whether GitHub's 304 to this ETag will cost such work nothing: the token that it belongs to is one that it may use.
    /// An installation's is another one within the hour, and without a token a 304 counts.
    pub fn is_free(&self, etag: &str, purpose: Purpose) -> bool {
        let Some((owner, _)) = etag.split_once(':') else { return false };
        let owns =
            |token: &Token| matches!(&*token.source, Source::Fixed(credential) if credential.fingerprint == owner);
        self.inner.tokens().all().iter().any(|token| token.used_for.serves(purpose) && owns(token))
    }

    /// How far this machine's clock is ahead of the server's, by the `Date` of its last answer, whatever that was; none
    /// before there is one.
    pub fn clock_ahead(&self) -> Option<SignedDuration> {
        *self.inner.clock_ahead.lock().expect("nothing panics while the clocks are compared")
    }

    /// Asks GitHub for the budgets of every token (free against the primary limit), also of those set aside, but not of
    /// those that it told to wait.
    ///
    /// A token that GitHub does not accept is set aside and says so in its budget's `trouble`; a server without limits
    /// (GitHub Enterprise) has no budgets.
    ///
    /// # Errors
    /// When GitHub does not answer for any token.
    pub async fn refresh_budgets(&self) -> Result<Vec<Budget>> {
        let url = Resource::RateLimit.address(&self.inner.base)?;
        let mut failure = None;
        let tokens = self.inner.tokens();
        for (index, token) in tokens.all().iter().enumerate() {
            if token.is_blocked(self.inner.clock.now()) {
                continue;
            }
            let ask = Ask {
                method: Method::GET,
                url: &url,
                body: Bytes::new(),
                name: Resource::RateLimit.name(),
                budget: None,
                purpose: Purpose::Live,
                etag: None,
                patient: false,
                repository: None,
                tells_sight: false,
            };
            let permit = self.inner.gate.enter(Purpose::Live).await;
            let seat = tokens.seat(index, None);
            let attempt = self.inner.once(&ask, &seat, &judge).await;
            drop((seat, permit));
            if let Attempt::Failed(error) | Attempt::Again(error) | Attempt::Unseen(Err(error)) = attempt {
                failure = Some(error);
            }
        }
        let budgets = self.budgets();
        match failure {
            Some(error) if budgets.is_empty() => Err(error),
            _ => Ok(budgets),
        }
    }

    /// Requests sent since the start, retries included, for plans and metrics.
    pub fn calls(&self) -> u64 {
        self.inner.calls.load(Ordering::Relaxed)
    }

    /// Points of GraphQL spent since the start, as GitHub told them.
    pub fn points(&self) -> u64 {
        self.spent().points
    }

    /// What was spent since the start, all repositories together.
    pub fn spent(&self) -> Spent {
        self.inner.spent.total()
    }

    /// What was spent on one repository since the start, by purpose.
    pub fn spent_on(&self, repository: &RepositoryName) -> BTreeMap<Purpose, Spent> {
        self.inner.spent.of(repository)
    }

    /// How quick GitHub has been lately.
    pub fn speeds(&self) -> Speeds {
        self.inner.spent.speeds()
    }

    /// When work of this purpose may go on, if budgets are used up now: for pausing a queue instead of waiting.
    ///
    /// None also when no token is accepted any more: the next request then fails as [`ErrorKind::Unauthorized`].
    pub fn blocked_until(&self, purpose: Purpose) -> Option<Timestamp> {
        match self.inner.tokens().opening(Some(CORE), purpose, &View::default(), self.inner.clock.now()) {
            Err(Closed::Until(time)) => Some(time),
            Ok(()) | Err(Closed::Refused(_)) => None,
        }
    }
}

/// One token for each different secret, or nobody.
fn tokens_of(personal: &[PersonalToken], installations: &[AppInstallation]) -> Result<Vec<Token>> {
    let mut tokens: Vec<Token> = Vec::new();
    for (index, PersonalToken { secret, used_for }) in personal.iter().enumerate() {
        let name = format!("token {}", index + 1);
        if secret.expose_secret().trim().is_empty() {
            continue;
        }
        let credential = Credential::bearer(secret, &name)?;
        if tokens.iter().all(|token| token.identity != credential.fingerprint) {
            tokens.push(Token::new(name, credential.fingerprint.clone(), Source::Fixed(credential), *used_for));
        }
    }
    for config in installations {
        let installation = Installation::new(config)?;
        let (name, identity) = (format!("installation {}", installation.id), installation.identity());
        if tokens.iter().all(|token| token.identity != identity) {
            tokens.push(Token::new(name, identity, Source::Installation(Box::new(installation)), config.used_for));
        }
    }
    if tokens.is_empty() {
        let name = ANONYMOUS.to_owned();
        tokens.push(Token::new(name.clone(), name, Source::Anonymous, TokenUse::Anything));
    }
    for (purpose, work, other) in [(Purpose::Live, "live", "scheduled"), (Purpose::Scheduled, "scheduled", "live")] {
        if !tokens.iter().any(|token| token.used_for.serves(purpose)) {
            let message = format!("every token is reserved for {other} work: one must be free for {work} work");
            return Err(Error::new(ErrorKind::Misconfigured, "settings", message));
        }
    }
    Ok(tokens)
}

/// What became of sending once.
#[derive(Debug)]
pub(crate) enum Attempt<T> {
    Done(T),
    /// The token is shown nothing: what to give if no other is shown more.
    Unseen(Result<T>),
    /// The token must wait or is set aside: choose again.
    ChooseAgain,
    /// Passing; the error to give if it stays so.
    Again(Error),
    Failed(Error),
}

impl Inner {
    /// The tokens as set now.
    fn tokens(&self) -> Arc<Tokens> {
        Arc::clone(&self.tokens.read().expect("nothing panics while tokens are replaced"))
    }

    /// Asks until it is answered, with any token, within the limits of time and attempts.
    pub(crate) async fn ask<T>(&self, ask: &Ask<'_>, judge: impl Fn(&Reply, &Sent<'_>) -> Verdict<T>) -> Result<T> {
        let (mut failures, mut limits, mut patience) = (0, 0_usize, LONGEST_WAIT);
        let (mut view, mut unseen) = (self.view(ask), None);
        loop {
            if let Some(answer) = self.last_word(ask, &view, &mut unseen) {
                return answer;
            }
            self.wait_for_budget(ask, &view, &mut patience).await?;
            self.sharing.announce([&self.gate, &self.graphql.turns]).await;
            self.spending.write_if_due(&self.spent).await;
            let permit = self.gate.enter(ask.purpose).await;
            // Nothing is awaited between choosing and sending: a token just told to wait is not used any more.
            let tokens = self.tokens();
            let preferred = owner(&tokens, ask);
            let Ok(seat) = tokens.take(ask.budget, ask.purpose, &view, preferred, self.clock.now()) else {
                continue;
            };
            let attempt = self.once(ask, &seat, &judge).await;
            drop(permit);
            match attempt {
                Attempt::Done(answer) => {
                    self.learn_sight(ask, &view, seat.token());
                    return Ok(answer);
                }
                Attempt::Unseen(answer) => {
                    if let Some(answer) = self.shown_nothing(ask, &mut view, seat.token(), answer, &mut unseen) {
                        return answer;
                    }
                }
                Attempt::Failed(error) => return Err(error),
                Attempt::ChooseAgain => {
                    limits += 1;
                    if limits > MOST_LIMITS + tokens.all().len() {
                        let until = later(self.clock.now(), SignedDuration::from_mins(1));
                        return Err(self.closed(ask, &view, until));
                    }
                }
                Attempt::Again(error) => {
                    failures += 1;
                    if failures >= MOST_ATTEMPTS || !ask.patient {
                        return Err(error);
                    }
                    drop(seat);
                    tokio::time::sleep(self.backoff(failures)).await;
                }
            }
        }
    }

    /// Whom a request is for.
    fn view(&self, ask: &Ask<'_>) -> View {
        View { repository: self.spent.repository(ask.repository, ask.url.path()), ..View::default() }
    }

    /// A token was shown something: those that were not do not see the repository, unless they did lately.
    fn learn_sight(&self, ask: &Ask<'_>, view: &View, token: &Token) {
        let now = self.clock.now();
        if !ask.tells_sight {
            return;
        }
        // GraphQL also answers with nothing in it.
        if ask.budget == Some(CORE) {
            token.learn_sight(view, true, now);
        }
        let tokens = self.tokens();
        let blind = tokens.all().iter().filter(|token| view.tried.contains(&token.identity) && !token.sees(view, now));
        for token in blind {
            tracing::warn!(token.name, repository = view.repository, "A token does not see what another one sees");
            token.learn_sight(view, false, now);
        }
    }

    /// Notes that a token is shown nothing; gives its answer back if it lately was shown something of the repository. A
    /// refusal says that there is something, so it stands before a 404.
    fn shown_nothing<T>(
        &self,
        ask: &Ask<'_>,
        view: &mut View,
        token: &Token,
        answer: Result<T>,
        unseen: &mut Option<Result<T>>,
    ) -> Option<Result<T>> {
        if answer.is_ok() && ask.tells_sight && token.sees(view, self.clock.now()) {
            return Some(answer);
        }
        view.tried.push(token.identity.clone());
        if !matches!((&answer, &unseen), (Ok(_), Some(Err(_)))) {
            *unseen = Some(answer);
        }
        None
    }

    /// What stands of the answer to tokens that are shown nothing: none where there is none, or another one is to be asked.
    fn last_word<T>(&self, ask: &Ask<'_>, view: &View, unseen: &mut Option<Result<T>>) -> Option<Result<T>> {
        unseen.as_ref()?;
        match self.tokens().others(ask.purpose, view, self.clock.now()) {
            Others::Waiting => None,
            Others::Nobody => unseen.take(),
            Others::SetAside(other, Trouble { reason, until }) => {
                let message = format!("nothing is shown so far, and {other} is set aside: {reason}");
                Some(Err(self.error(ask, ErrorKind::Unconfirmed { until }, &message)))
            }
        }
    }

    /// Returns when some token may be used; fails when that takes longer than a job should hold its lease.
    async fn wait_for_budget(&self, ask: &Ask<'_>, view: &View, patience: &mut Duration) -> Result<()> {
        loop {
            self.sharing.read(&self.tokens(), &self.clock).await;
            let now = self.clock.now();
            match self.tokens().opening(ask.budget, ask.purpose, view, now) {
                Ok(()) => return Ok(()),
                // The last of them was refused just now: what those were told that were asked stands.
                Err(Closed::Refused(_)) if !view.tried.is_empty() => return Ok(()),
                Err(Closed::Refused(reason)) => {
                    let message = format!("no token is accepted any more ({reason}): check [github] tokens");
                    return Err(self.error(ask, ErrorKind::Unauthorized, &message));
                }
                Err(Closed::Until(time)) => {
                    let pause = until_then(time, now);
                    if pause > *patience {
                        return Err(self.closed(ask, view, time));
                    }
                    *patience -= pause;
                    metrics::histogram!("gharvest_github_wait_seconds", "purpose" => ask.purpose.name())
                        .record(pause.as_secs_f64());
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Sends once with one token, and learns from the answer.
    pub(crate) async fn once<T>(
        &self,
        ask: &Ask<'_>,
        seat: &Seat,
        judge: &impl Fn(&Reply, &Sent<'_>) -> Verdict<T>,
    ) -> Attempt<T> {
        let token = seat.token();
        let credential = match self.credential(ask, token).await {
            Ok(credential) => credential,
            Err(attempt) => return attempt,
        };
        let credential = credential.as_ref();
        let fingerprint = credential.map_or(ANONYMOUS, |credential| &credential.fingerprint);
        let etag = ask.etag.and_then(|(owner, etag)| (owner == fingerprint).then_some(etag));
        let sent_at = self.clock.now();
        self.calls.fetch_add(1, Ordering::Relaxed);
        let started = tokio::time::Instant::now();
        let reply = self.transport.send(self.request(ask, credential, etag)).await;
        let took = started.elapsed();
        self.count(ask, &reply, took);
        let reply = match reply {
            Ok(reply) => reply,
            Err(failure) => return self.failed(ask, failure),
        };
        let now = self.clock.now();
        let sent = Sent { url: ask.url, base: &self.base, fingerprint, etag, now, took };
        let verdict = judge(&reply, &sent);
        let waits = matches!(verdict, Verdict::Limited(_));
        self.learn(ask, token, &reply, now);
        let attempt = match (verdict, &*token.source) {
            // Tokens of installations can be revoked or end early: a new one first.
            (Verdict::TokenRefused(_), Source::Installation(installation)) if installation.forget(fingerprint, now) => {
                Attempt::ChooseAgain
            }
            (verdict, _) => self.settle(ask, token, verdict, sent_at, true).await,
        };
        self.tell_width();
        self.sharing.write(token, ask.budget.unwrap_or(CORE), &self.clock, waits).await;
        attempt
    }

    /// What to send with the token; for an installation got first, if need be.
    async fn credential<T>(&self, ask: &Ask<'_>, token: &Token) -> Result<Option<Credential>, Attempt<T>> {
        let installation = match &*token.source {
            Source::Installation(installation) => installation,
            source => return Ok(source.known()),
        };
        if let Some(credential) = installation.valid(self.clock.now()) {
            return Ok(Some(credential));
        }
        let _turn = installation.renewal.lock().await;
        if token.is_out_of_use(self.clock.now()) {
            return Err(Attempt::ChooseAgain);
        }
        match installation.valid(self.clock.now()) {
            Some(credential) => Ok(Some(credential)),
            None => self.renew(ask, token, installation).await.map(Some),
        }
    }

    /// Gets a new token for an installation.
    async fn renew<T>(
        &self,
        ask: &Ask<'_>,
        token: &Token,
        installation: &Installation,
    ) -> Result<Credential, Attempt<T>> {
        let url = self.base.join(&["app", "installations", &installation.id.to_string(), "access_tokens"], &[]);
        let renewal =
            Ask { method: Method::POST, url: &url, name: "installation_token", etag: None, body: Bytes::new(), ..*ask };
        let sent_at = self.clock.now();
        let mut request = self.request(&renewal, None, None);
        request.headers_mut().insert(header::AUTHORIZATION, installation.proof(sent_at));
        self.calls.fetch_add(1, Ordering::Relaxed);
        let started = tokio::time::Instant::now();
        let reply = self.transport.send(request).await;
        self.count(&renewal, &reply, started.elapsed());
        let reply = reply.map_err(|failure| self.failed(&renewal, failure))?;
        let now = self.clock.now();
        if reply.status == StatusCode::CREATED {
            let unread = || Attempt::Again(self.error(&renewal, ErrorKind::BadAnswer, "answered 201 without a token"));
            return installation.issue(&reply.body, now).ok_or_else(unread);
        }
        let verdict = match judge_refusal(&reply, now) {
            Ok(verdict) => verdict,
            // Uninstalled, suspended, or of another App: the installation is of no use until a person acts.
            Err(refusal) => Verdict::TokenRefused(format!("{}: {}", reply.status.as_u16(), refusal.reason())),
        };
        let waits = matches!(verdict, Verdict::Limited(_));
        // A proof holds the time: refused as such (401), it may be this host's clock that is wrong.
        let for_all = reply.status != StatusCode::UNAUTHORIZED;
        let attempt = self.settle(&renewal, token, verdict, sent_at, for_all).await;
        if waits {
            self.sharing.write(token, ask.budget.unwrap_or(CORE), &self.clock, true).await;
        }
        Err(attempt)
    }

    /// `for_all`: whether another process would be refused as well.
    async fn settle<T>(
        &self,
        ask: &Ask<'_>,
        token: &Token,
        verdict: Verdict<T>,
        sent_at: Timestamp,
        for_all: bool,
    ) -> Attempt<T> {
        match verdict {
            Verdict::Done(answer) => {
                token.accepted();
                is_accepted(token, true);
                Attempt::Done(answer)
            }
            Verdict::Unseen(Ok(answer)) => {
                token.accepted();
                is_accepted(token, true);
                Attempt::Unseen(Ok(answer))
            }
            Verdict::Unseen(Err((kind, message))) => Attempt::Unseen(Err(self.error(ask, kind, &message))),
            Verdict::Limited(limit) => {
                if let Some(narrowing) = self.apply(limit, token, ask.budget.unwrap_or(CORE), sent_at) {
                    self.sharing.write_narrowing(narrowing, self.clock.now()).await;
                }
                Attempt::ChooseAgain
            }
            Verdict::TokenRefused(reason) => {
                let reason = self.without_secrets(&reason);
                tracing::warn!(token.name, "GitHub does not accept {}: set aside ({reason})", token.name);
                metrics::counter!("gharvest_github_tokens_refused_total").increment(1);
                token.set_aside(reason, self.clock.now());
                is_accepted(token, false);
                if for_all {
                    self.sharing.write_trouble(token, &self.clock).await;
                }
                Attempt::ChooseAgain
            }
            Verdict::Again(kind, message) => Attempt::Again(self.error(ask, kind, &message)),
            Verdict::Failed(kind, message) => Attempt::Failed(self.error(ask, kind, &message)),
        }
    }

    /// Takes a refusal in. Says how many requests are let in at once now, if it was about that.
    fn apply(&self, limit: Limit, token: &Token, budget: &str, sent_at: Timestamp) -> Option<Narrowing> {
        let now = self.clock.now();
        let soonest = later(now, SignedDuration::from_secs(1));
        let (name, until) = match limit {
            Limit::Primary(reading) if reading.reset_at > now => {
                let resource = reading.resource.as_deref().unwrap_or(budget);
                token.exhausted(resource, reading.reset_at, reading.limit);
                ("primary", reading.reset_at)
            }
            Limit::Until(time) => ("retry_after", token.blocked(Some(time.max(soonest)), sent_at, now)),
            Limit::Primary(_) | Limit::Secondary => ("secondary", token.blocked(None, sent_at, now)),
        };
        let narrowing = (name != "primary").then(|| self.gate.narrow(sent_at, now, until_then(until, now)));
        if let Some(Narrowing { to: width, .. }) = narrowing {
            tracing::warn!(width, "GitHub says that it is too much: {width} requests at once from now on");
        }
        metrics::counter!("gharvest_github_limits_total", "limit" => name).increment(1);
        tracing::info!(token.name, limit = name, %until, "GitHub told {} to wait until {until}", token.name);
        narrowing
    }

    /// Says how many requests are let in at once.
    fn tell_width(&self) {
        #[expect(clippy::cast_precision_loss, reason = "a hundred at most")]
        metrics::gauge!("gharvest_github_concurrency").set(self.gate.width() as f64);
    }

    /// Takes the answer's budgets in.
    fn learn(&self, ask: &Ask<'_>, token: &Token, reply: &Reply, now: Timestamp) {
        let expected = ask.budget.unwrap_or(CORE);
        if let Some(theirs) = date(&reply.headers) {
            let ahead = Some(now.duration_since(theirs));
            *self.clock_ahead.lock().expect("nothing panics while the clocks are compared") = ahead;
        }
        if let Some(scopes) = scopes(&reply.headers) {
            token.has_scopes(scopes);
        }
        token.ends(ends_at(&reply.headers));
        let mut readings: Vec<Reading> = Reading::of(&reply.headers, now).into_iter().collect();
        if ask.name == Resource::RateLimit.name() && reply.status == StatusCode::OK {
            readings.extend(readings_of_body(&reply.body, now));
        }
        for reading in readings {
            let window = token.read(&reading, expected);
            let resource = reading.resource.unwrap_or_else(|| expected.to_owned());
            let labels = [("token", token.name.clone()), ("resource", resource)];
            #[expect(clippy::cast_precision_loss, reason = "budgets are thousands")]
            metrics::gauge!("gharvest_github_budget_remaining", &labels).set(window.remaining as f64);
            #[expect(clippy::cast_precision_loss, reason = "budgets are thousands")]
            metrics::gauge!("gharvest_github_budget_limit", &labels).set(window.limit as f64);
            #[expect(clippy::cast_precision_loss, reason = "seconds of this age")]
            metrics::gauge!("gharvest_github_budget_reset_timestamp_seconds", &labels)
                .set(window.reset_at.as_second() as f64);
        }
    }

    fn failed<T>(&self, ask: &Ask<'_>, failure: Failure) -> Attempt<T> {
        let passing = failure.is_worth_a_retry();
        let mut error = self.error(ask, failure.kind(), &failure.to_string());
        if let Some(cause) = failure.into_cause() {
            error = error.with_source(cause);
        }
        if passing { Attempt::Again(error) } else { Attempt::Failed(error) }
    }

    fn request(&self, ask: &Ask<'_>, credential: Option<&Credential>, etag: Option<&str>) -> Request<Bytes> {
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(ask.url.as_str())
            .body(ask.body.clone())
            .expect("a parsed http URL is a URI");
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, ACCEPT);
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(header::USER_AGENT, self.user_agent.clone());
        headers.insert("x-github-api-version", HeaderValue::from_static(API_VERSION));
        if !ask.body.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(credential) = credential {
            headers.insert(header::AUTHORIZATION, credential.authorization.clone());
        }
        if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
            headers.insert(header::IF_NONE_MATCH, etag);
        }
        request
    }

    /// Whether there is no token at all.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.tokens().all().iter().all(|token| matches!(*token.source, Source::Anonymous))
    }

    /// Counts points of GraphQL.
    pub(crate) fn spend(&self, points: u64, purpose: Purpose, repository: Option<&RepositoryName>) {
        self.spent.add(&self.spent.owner(repository, ""), purpose, Spent { points, ..Spent::default() });
    }

    /// Learns how quick GraphQL is.
    pub(crate) fn took_threads(&self, threads: usize, took: Duration) {
        self.spent.took_threads(threads, took);
    }

    fn count(&self, ask: &Ask<'_>, reply: &Result<Reply, Failure>, took: Duration) {
        count(ask, reply, took);
        let unchanged = reply.as_ref().is_ok_and(|reply| reply.status == StatusCode::NOT_MODIFIED);
        // What asks for budgets is free, and what gets a token belongs to nobody.
        if ask.budget.is_some() {
            let owner = self.spent.owner(ask.repository, ask.url.path());
            let calls = u64::from(!unchanged);
            let graphql = if ask.budget == Some(GRAPHQL) { calls } else { 0 };
            let spent = Spent { calls, graphql, unchanged: u64::from(unchanged), points: 0 };
            self.spent.add(&owner, ask.purpose, spent);
            if ask.budget != Some(GRAPHQL) {
                self.spent.took_rest(took);
            }
        }
    }

    /// Twice as long each time, from half to one and a half of it at random, so that retries do not march in step.
    pub(crate) fn backoff(&self, failures: u32) -> Duration {
        let doubled = self.backoff.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST_BACKOFF);
        doubled.mul_f64(0.5 + fastrand::f64())
    }

    /// No token may be asked before this time. Where some were, and are shown nothing, only this request waits for the
    /// others.
    fn closed(&self, ask: &Ask<'_>, view: &View, until: Timestamp) -> Error {
        if view.tried.is_empty() {
            return self.rate_limited(ask, until);
        }
        let message = format!("nothing is shown so far, and no other token that may see it has budget before {until}");
        self.error(ask, ErrorKind::Unconfirmed { until }, &message)
    }

    fn rate_limited(&self, ask: &Ask<'_>, until: Timestamp) -> Error {
        self.error(ask, ErrorKind::RateLimited { until }, &format!("no token has budget before {until}"))
    }

    pub(crate) fn error(&self, ask: &Ask<'_>, kind: ErrorKind, message: &str) -> Error {
        let request = format!("{} {}", ask.method, self.base.label(ask.url));
        Error::new(kind, request, self.without_secrets(message))
    }

    /// A message as it is, unless it repeats a token back at us.
    fn without_secrets(&self, message: &str) -> String {
        let tokens = self.tokens();
        let mut credentials = tokens.all().iter().filter_map(|token| token.source.known());
        let tells = credentials.any(|credential| credential.is_told_by(message));
        if tells { "(a message that repeats a token is withheld)".to_owned() } else { message.to_owned() }
    }
}

/// Which token the ETag belongs to.
fn owner(tokens: &Tokens, ask: &Ask<'_>) -> Option<usize> {
    let (fingerprint, _) = ask.etag?;
    tokens.all().iter().position(|token| token.source.owns(fingerprint))
}

/// All budgets that `GET /rate_limit` tells in its body.
fn readings_of_body(body: &[u8], now: Timestamp) -> Vec<Reading> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let resources = body["resources"].as_object().into_iter().flatten();
    let reading = |(name, budget): (&String, &Value)| {
        Some(Reading {
            resource: Some(name.clone()),
            limit: budget["limit"].as_u64()?,
            remaining: budget["remaining"].as_u64()?,
            reset_at: reset_time(budget["reset"].as_u64()?, now),
        })
    };
    resources.filter(|(name, _)| ["core", "graphql", "search"].contains(&name.as_str())).filter_map(reading).collect()
}

fn is_accepted(token: &Token, accepted: bool) {
    metrics::gauge!("gharvest_github_token_accepted", "token" => token.name.clone()).set(f64::from(u8::from(accepted)));
}

fn count(ask: &Ask<'_>, reply: &Result<Reply, Failure>, took: Duration) {
    let status = match reply {
        Ok(reply) => reply.status.as_str().to_owned(),
        Err(failure) => failure.name().to_owned(),
    };
    let labels = [("resource", ask.name), ("purpose", ask.purpose.name())];
    metrics::histogram!("gharvest_github_request_seconds", &labels).record(took.as_secs_f64());
    metrics::counter!(
        "gharvest_github_requests_total",
        "resource" => ask.name, "purpose" => ask.purpose.name(), "status" => status
    )
    .increment(1);
}
