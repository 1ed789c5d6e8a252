//! The tokens and what is left of each one's budgets.
//!
//! A budget is known from the headers of the last answers, never counted down by us alone: requests in flight are
//! subtracted until their answers tell. A token is out of use while its budget is used up (one resource), while GitHub
//! told it to wait (all resources), or while it is set aside because GitHub did not accept it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Budget, Purpose, TokenKind, TokenReport, TokenUse,
    credential::Source,
    limits::{LONGEST_LIMIT, Reading, later},
    sight::{Others, Sight, View},
};

/// How long a token that GitHub did not accept is left alone: it may have been an outage of GitHub's.
const SET_ASIDE_FOR: SignedDuration = SignedDuration::from_mins(15);

/// The wait for a secondary limit that came without `Retry-After`; doubled each time it comes again.
const SECONDARY_WAIT: SignedDuration = SignedDuration::from_secs(60);

/// The budget of most tokens, taken for true until an answer tells.
const USUAL_LIMIT: u64 = 5000;

/// Two readings belong to one window if their ends differ by no more: GitHub's own clocks differ by a second.
const SAME_WINDOW: SignedDuration = SignedDuration::from_secs(5);

/// What one budget of one token looked like when last heard of; this is what processes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    pub(crate) reset_at: Timestamp,
    /// Until when GitHub told the token to wait, whatever is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) blocked_until: Option<Timestamp>,
}

/// Why a token is set aside, and until when: what processes share of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trouble {
    pub(crate) reason: String,
    pub(crate) until: Timestamp,
}

impl Window {
    /// When the budget is full again, by a clock that may be a little ahead of GitHub's.
    fn ends_at(&self) -> Timestamp {
        later(self.reset_at, SignedDuration::from_secs(1))
    }
}

/// All tokens, one of which each request gets.
#[derive(Debug)]
pub(crate) struct Tokens {
    reserve: u64,
    tokens: Vec<Token>,
}

/// One token: a personal access token, an installation of an app, or nobody.
#[derive(Debug)]
pub(crate) struct Token {
    /// For people: `token 1`.
    pub(crate) name: String,
    /// For keys of shared state; tells nothing about the secret.
    pub(crate) identity: String,
    pub(crate) source: Arc<Source>,
    pub(crate) used_for: TokenUse,
    standing: Arc<Mutex<Standing>>,
}

#[derive(Debug, Default)]
struct Standing {
    windows: BTreeMap<String, Window>,
    in_flight: BTreeMap<&'static str, u64>,
    blocked_until: Option<Timestamp>,
    /// When GitHub last told the token to wait: what was sent before does not count as disobedience.
    blocked_at: Option<Timestamp>,
    /// Secondary limits in a row.
    strikes: u32,
    trouble: Option<Trouble>,
    /// As GitHub told them; none for tokens that have none.
    scopes: Option<Vec<String>>,
    /// When the token ends, for those that do.
    ends_at: Option<Timestamp>,
    sight: Sight,
}

/// A token in use by one request in flight.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) index: usize,
    budget: Option<&'static str>,
}

impl Seat {
    pub(crate) fn token(&self) -> &Token {
        &self.tokens.tokens[self.index]
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(budget) = self.budget {
            let mut standing = self.token().standing();
            let in_flight = standing.in_flight.entry(budget).or_default();
            *in_flight = in_flight.saturating_sub(1);
        }
    }
}

impl Tokens {
    pub(crate) fn new(tokens: Vec<Token>, reserve: u32) -> Self {
        Self { reserve: u64::from(reserve), tokens }
    }

    pub(crate) fn all(&self) -> &[Token] {
        &self.tokens
    }

    /// The tokens of new settings. Who is among both keeps what is known of it, and what is in flight with it.
    pub(crate) fn succeeded_by(&self, mut tokens: Vec<Token>) -> Self {
        for token in &mut tokens {
            let Some(known) = self.tokens.iter().find(|known| known.identity == token.identity) else { continue };
            token.standing = Arc::clone(&known.standing);
            if token.source.is_same(&known.source) {
                token.source = Arc::clone(&known.source);
            } else {
                // Another key of the same App may be accepted where the former was not.
                token.standing().trouble = None;
            }
        }
        Self { reserve: self.reserve, tokens }
    }

    /// Takes the token with the most left among those that may be shown what is asked for; `preferred` (the one an ETag
    /// belongs to) goes first while it has enough.
    pub(crate) fn take(
        self: &Arc<Self>,
        budget: Option<&'static str>,
        purpose: Purpose,
        view: &View,
        preferred: Option<usize>,
        now: Timestamp,
    ) -> Result<Seat, Closed> {
        self.best(budget, purpose, view, preferred, now).map(|index| self.seat(index, budget))
    }

    /// Takes this token, whatever is left of it.
    pub(crate) fn seat(self: &Arc<Self>, index: usize, budget: Option<&'static str>) -> Seat {
        if let Some(budget) = budget {
            *self.tokens[index].standing().in_flight.entry(budget).or_default() += 1;
        }
        Seat { tokens: Arc::clone(self), index, budget }
    }

    /// When a request could go, without taking anything: now, then, or never.
    pub(crate) fn opening(
        &self,
        budget: Option<&str>,
        purpose: Purpose,
        view: &View,
        now: Timestamp,
    ) -> Result<(), Closed> {
        self.best(budget, purpose, view, None, now).map(drop)
    }

    /// The tokens for this purpose that were not shown nothing already.
    fn untried<'a>(&'a self, purpose: Purpose, view: &'a View) -> impl Iterator<Item = (usize, &'a Token)> {
        let is_untried = |token: &Token| !view.tried.contains(&token.identity);
        self.tokens.iter().enumerate().filter(move |(_, token)| token.used_for.serves(purpose) && is_untried(token))
    }

    fn best(
        &self,
        budget: Option<&str>,
        purpose: Purpose,
        view: &View,
        preferred: Option<usize>,
        now: Timestamp,
    ) -> Result<usize, Closed> {
        let sees = |token: &Token| !token.is_blind(view, now);
        // A record must not depend on who was asked: a token that may miss events waits until no other one may be asked
        // about the repository.
        let sees_all = |token: &Token| sees(token) && !(view.repository.is_some() && token.may_miss_events());
        // Where nobody sees it, or may be asked, one that did not may do so now.
        let choices: [&dyn Fn(&Token) -> bool; 3] = [&sees_all, &sees, &|_| true];
        let mut found = Err(Closed::Refused(String::new()));
        for is_chosen in choices {
            let among = self.untried(purpose, view).filter(|(_, token)| is_chosen(token));
            found = self.best_of(among, budget, purpose, preferred, now);
            if !matches!(found, Err(Closed::Refused(_))) {
                break;
            }
        }
        found
    }

    fn best_of<'a>(
        &self,
        among: impl Iterator<Item = (usize, &'a Token)>,
        budget: Option<&str>,
        purpose: Purpose,
        preferred: Option<usize>,
        now: Timestamp,
    ) -> Result<usize, Closed> {
        let mut best: Option<(u64, usize)> = None;
        let mut opens: Option<Timestamp> = None;
        let mut refused = None;
        for (index, token) in among {
            match token.left(budget, self.floor(token, purpose), now) {
                Ok(_) if preferred == Some(index) => return Ok(index),
                Ok(left) if best.is_none_or(|(most, _)| left > most) => best = Some((left, index)),
                Ok(_) => {}
                Err(Closed::Until(time)) => opens = Some(opens.map_or(time, |earlier| earlier.min(time))),
                Err(Closed::Refused(reason)) => refused = Some(reason),
            }
        }
        match (best, opens) {
            (Some((_, index)), _) => Ok(index),
            (None, Some(time)) => Err(Closed::Until(time)),
            (None, None) => Err(Closed::Refused(refused.unwrap_or_else(|| "there is no token".to_owned()))),
        }
    }

    /// Whether another token than those tried may be shown more.
    pub(crate) fn others(&self, purpose: Purpose, view: &View, now: Timestamp) -> Others {
        let mut others = Others::Nobody;
        for (_, token) in self.untried(purpose, view).filter(|(_, token)| !token.is_blind(view, now)) {
            match token.trouble(now) {
                None => return Others::Waiting,
                Some(trouble) if token.is_missed(view, now) => {
                    others = Others::SetAside(token.name.clone(), trouble);
                }
                Some(_) => {}
            }
        }
        others
    }

    /// What is kept for live work; nothing of a token that live work may not use.
    fn floor(&self, token: &Token, purpose: Purpose) -> u64 {
        if purpose == Purpose::Live || token.used_for == TokenUse::Scheduled { 0 } else { self.reserve }
    }

    /// What is known of all budgets.
    pub(crate) fn budgets(&self, now: Timestamp) -> Vec<Budget> {
        self.tokens.iter().flat_map(|token| token.budgets(now)).collect()
    }

    /// The same of those that work of this purpose can count on: where others are accepted, not of tokens that may miss
    /// events.
    pub(crate) fn budgets_for(&self, purpose: Purpose, now: Timestamp) -> Vec<Budget> {
        let usable = || self.tokens.iter().filter(|token| token.used_for.serves(purpose));
        let others = usable().any(|token| !token.may_miss_events() && token.trouble(now).is_none());
        usable().filter(|token| !(others && token.may_miss_events())).flat_map(|token| token.budgets(now)).collect()
    }

    /// Whether GitHub told no budget of any token, and accepts one for work of this purpose: a server without limits.
    pub(crate) fn have_no_limits(&self, purpose: Purpose, now: Timestamp) -> bool {
        let is_limited = |token: &Token| !token.standing().windows.is_empty();
        let is_usable = |token: &Token| token.used_for.serves(purpose) && !token.is_out_of_use(now);
        !self.tokens.iter().any(is_limited) && self.tokens.iter().any(is_usable)
    }

    /// What each token is, and how it is.
    pub(crate) fn reports(&self, now: Timestamp) -> Vec<TokenReport> {
        self.tokens.iter().map(|token| token.report(now)).collect()
    }
}

/// Why a token cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Not before this time.
    Until(Timestamp),
    /// GitHub does not accept it.
    Refused(String),
}

impl Token {
    pub(crate) fn new(name: String, identity: String, source: Source, used_for: TokenUse) -> Self {
        Self { name, identity, source: Arc::new(source), used_for, standing: Arc::default() }
    }

    fn report(&self, now: Timestamp) -> TokenReport {
        let standing = self.standing();
        let kind = match &*self.source {
            Source::Anonymous => TokenKind::Anonymous,
            Source::Installation(_) => TokenKind::Installation,
            Source::Fixed(credential) if credential.is_fine_grained => TokenKind::FineGrained,
            Source::Fixed(_) => TokenKind::Classic,
        };
        TokenReport {
            token: self.name.clone(),
            kind,
            used_for: self.used_for,
            scopes: standing.scopes.clone(),
            ends_at: standing.ends_at,
            trouble: standing.trouble(now).map(str::to_owned),
        }
    }

    /// Takes in which scopes GitHub says that it has.
    pub(crate) fn has_scopes(&self, scopes: Vec<String>) {
        self.standing().scopes = Some(scopes);
    }

    /// Takes in when GitHub says that it ends.
    pub(crate) fn ends(&self, at: Option<Timestamp>) {
        // An installation's token ends every hour, and is renewed.
        if at.is_some() && !matches!(*self.source, Source::Installation(_)) {
            self.standing().ends_at = at;
        }
    }

    /// Learns whether it sees the repository that a request is about.
    pub(crate) fn learn_sight(&self, view: &View, sees: bool, now: Timestamp) {
        if let Some(repository) = &view.repository {
            self.standing().sight.learn(repository, sees, now);
        }
    }

    /// Whether it lately saw the repository that a request is about.
    pub(crate) fn sees(&self, view: &View, now: Timestamp) -> bool {
        view.repository.as_ref().is_some_and(|repository| self.standing().sight.sees(repository, now))
    }

    /// Whether it saw that repository when last asked, within an hour.
    fn is_missed(&self, view: &View, now: Timestamp) -> bool {
        view.repository.as_ref().is_some_and(|repository| self.standing().sight.is_missed(repository, now))
    }

    /// Whether GitHub leaves events out of the timelines that it is shown: nearly all cross-references, of probes' counts
    /// as well.
    fn may_miss_events(&self) -> bool {
        matches!(&*self.source, Source::Fixed(credential) if credential.is_fine_grained)
    }

    fn is_blind(&self, view: &View, now: Timestamp) -> bool {
        view.repository.as_ref().is_some_and(|repository| self.standing().sight.is_blind(repository, now))
    }

    /// How many more requests this budget bears above `floor`.
    fn left(&self, budget: Option<&str>, floor: u64, now: Timestamp) -> Result<u64, Closed> {
        let mut standing = self.standing();
        if let Some(trouble) = &standing.trouble {
            if trouble.until > now {
                return Err(Closed::Refused(trouble.reason.clone()));
            }
            standing.trouble = None;
        }
        if let Some(until) = standing.blocked_until.filter(|until| *until > now) {
            return Err(Closed::Until(until));
        }
        let Some(budget) = budget else { return Ok(u64::MAX) };
        let in_flight = standing.in_flight.get(budget).copied().unwrap_or_default();
        match standing.windows.get(budget) {
            Some(window) if window.ends_at() > now => {
                let left = window.remaining.saturating_sub(in_flight).saturating_sub(floor.min(window.limit / 10));
                if left > 0 { Ok(left) } else { Err(Closed::Until(window.ends_at())) }
            }
            // Its hour is over, or nothing was heard of it yet: taken for full until the next answer tells.
            Some(window) => Ok(window.limit.saturating_sub(in_flight)),
            None => Ok(USUAL_LIMIT.saturating_sub(in_flight)),
        }
    }

    /// Takes a reading of one answer in, and says what is now known.
    pub(crate) fn read(&self, reading: &Reading, expected: &str) -> Window {
        let name = reading.resource.as_deref().unwrap_or(expected);
        let window = Window {
            limit: reading.limit,
            remaining: reading.remaining,
            reset_at: reading.reset_at,
            blocked_until: None,
        };
        self.standing().merge(name, window)
    }

    /// Takes what another process knows in.
    pub(crate) fn learn(&self, name: &str, window: Window, now: Timestamp) {
        let mut standing = self.standing();
        if let Some(until) = window.blocked_until {
            let until = until.min(later(now, LONGEST_LIMIT));
            standing.blocked_until = Some(standing.blocked_until.map_or(until, |known| known.max(until)));
        }
        if window.reset_at > now && window.reset_at <= later(now, LONGEST_LIMIT) {
            standing.merge(name, Window { blocked_until: None, ..window });
        }
    }

    /// GitHub accepted the token: its secondary limits are over.
    pub(crate) fn accepted(&self) {
        self.standing().strikes = 0;
    }

    /// The primary limit: this budget is used up until the reading's end.
    pub(crate) fn exhausted(&self, budget: &str, reset_at: Timestamp, limit: u64) {
        self.standing()
            .windows
            .insert(budget.to_owned(), Window { limit, remaining: 0, reset_at, blocked_until: None });
    }

    /// GitHub told the token to wait: until the given time, or a minute that doubles each time it is told again.
    pub(crate) fn blocked(&self, until: Option<Timestamp>, sent_at: Timestamp, now: Timestamp) -> Timestamp {
        let mut standing = self.standing();
        // Several answers of one storm count once: only what was sent after the last refusal is news.
        let news = standing.blocked_at.is_none_or(|at| sent_at > at);
        let known = standing.blocked_until.filter(|known| *known > now);
        let doubled = SECONDARY_WAIT.checked_mul(1 << standing.strikes.min(6)).unwrap_or(LONGEST_LIMIT);
        let until = match (until, known) {
            (None, Some(known)) if !news => known,
            (until, known) => until.unwrap_or(later(now, doubled.min(LONGEST_LIMIT))).max(known.unwrap_or(now)),
        };
        if news {
            standing.blocked_at = Some(now);
            standing.strikes += 1;
        }
        standing.blocked_until = Some(until);
        until
    }

    /// GitHub did not accept the token.
    pub(crate) fn set_aside(&self, reason: String, now: Timestamp) {
        self.standing().trouble = Some(Trouble { reason, until: later(now, SET_ASIDE_FOR) });
    }

    /// Why it is set aside now, if it is.
    pub(crate) fn trouble(&self, now: Timestamp) -> Option<Trouble> {
        self.standing().trouble.clone().filter(|trouble| trouble.until > now)
    }

    /// Another process was told that GitHub does not accept it: it is set aside here as well, for no longer.
    pub(crate) fn learn_trouble(&self, trouble: Trouble, now: Timestamp) {
        let until = trouble.until.min(later(now, SET_ASIDE_FOR));
        let mut standing = self.standing();
        if until > now && standing.trouble.as_ref().is_none_or(|known| known.until < until) {
            standing.trouble = Some(Trouble { until, ..trouble });
        }
    }

    /// Whether GitHub told the token to wait.
    pub(crate) fn is_blocked(&self, now: Timestamp) -> bool {
        self.standing().blocked_until.is_some_and(|until| until > now)
    }

    /// Whether GitHub told the token to wait, or did not accept it.
    pub(crate) fn is_out_of_use(&self, now: Timestamp) -> bool {
        self.is_blocked(now) || self.standing().trouble(now).is_some()
    }

    /// What to share with other processes about one budget.
    pub(crate) fn shared(&self, budget: &str, now: Timestamp) -> Option<Window> {
        let standing = self.standing();
        let blocked_until = standing.blocked_until.filter(|until| *until > now);
        match standing.windows.get(budget) {
            Some(window) => Some(Window { blocked_until, ..*window }),
            None => blocked_until.map(|_| Window { limit: 0, remaining: 0, reset_at: now, blocked_until }),
        }
    }

    fn budgets(&self, now: Timestamp) -> Vec<Budget> {
        let standing = self.standing();
        let blocked = standing.blocked_until.filter(|until| *until > now);
        let trouble = standing
            .trouble(now)
            .map(str::to_owned)
            .or_else(|| blocked.map(|until| format!("GitHub told it to wait until {until}")));
        let known = standing.windows.iter().map(|(name, window)| Budget {
            token: self.name.clone(),
            resource: name.clone(),
            limit: window.limit,
            remaining: if window.reset_at > now { window.remaining } else { window.limit },
            reset_at: window.reset_at,
            trouble: trouble.clone(),
        });
        let mut budgets: Vec<Budget> = known.collect();
        if budgets.is_empty() && trouble.is_some() {
            budgets.push(Budget {
                token: self.name.clone(),
                resource: crate::resource::CORE.to_owned(),
                limit: 0,
                remaining: 0,
                reset_at: blocked.unwrap_or(now),
                trouble,
            });
        }
        budgets
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().expect("nothing panics while a token's standing is locked")
    }
}

impl Standing {
    /// Why the token is set aside, if it is.
    fn trouble(&self, now: Timestamp) -> Option<&str> {
        self.trouble.as_ref().filter(|trouble| trouble.until > now).map(|trouble| trouble.reason.as_str())
    }

    /// Answers arrive out of order, so within one window the lowest reading holds; an older window says nothing.
    fn merge(&mut self, name: &str, new: Window) -> Window {
        /// More names than GitHub has: only a broken server sends more.
        const MOST_NAMES: usize = 32;
        let Some(known) = self.windows.get_mut(name) else {
            if self.windows.len() < MOST_NAMES {
                self.windows.insert(name.to_owned(), new);
            }
            return new;
        };
        let difference = new.reset_at.duration_since(known.reset_at);
        if difference > SAME_WINDOW {
            *known = new;
        } else if difference >= -SAME_WINDOW {
            known.remaining = known.remaining.min(new.remaining);
            known.limit = new.limit;
        }
        *known
    }
}
