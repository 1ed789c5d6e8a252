//! Who calls, what they have left, and who was told to wait.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::options::Options;

/// Who makes a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Caller {
    Anonymous,
    /// A user, with all tokens of it.
    User(String),
    /// An app that proves itself by a JWT.
    App,
}

/// Why a caller is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Primary,
    Secondary { retry_after: Option<u64> },
}

/// A caller's hourly budget of one resource.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) limit: u64,
    pub(crate) used: u64,
    /// Seconds since 1970.
    pub(crate) reset: u64,
}

impl Budget {
    pub(crate) fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

#[derive(Debug, Clone, Copy)]
struct Told {
    /// Milliseconds since 1970.
    until: u64,
    since: Instant,
}

/// The scope of the secondary limit.
pub(crate) const EVERYTHING: &str = "everything";

#[derive(Debug, Default)]
pub(crate) struct Limits {
    budgets: HashMap<(Caller, &'static str), Budget>,
    minutes: HashMap<Caller, (u64, u64)>,
    /// Who was told to wait, for a resource or, by the secondary limit, for all of them.
    told: HashMap<(Caller, &'static str), Told>,
    tokens: HashMap<String, Option<(String, u64)>>,
    /// When tokens of a login end, as the header says it.
    ends: HashMap<String, String>,
    /// The repositories that a token is not shown.
    unseen: HashMap<String, HashSet<u64>>,
    shift_ms: u64,
}

impl Limits {
    pub(crate) fn new(options: &Options) -> Self {
        let tokens = options.tokens.iter().map(|token| (token.value.clone(), Some((token.login.clone(), token.limit))));
        Self { tokens: tokens.collect(), ..Self::default() }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        real + self.shift_ms
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.shift_ms += by.as_millis() as u64;
    }

    pub(crate) fn revoke(&mut self, token: &str) {
        self.tokens.insert(token.to_owned(), None);
    }

    pub(crate) fn allow(&mut self, token: &str, login: &str, limit: u64) {
        self.tokens.insert(token.to_owned(), Some((login.to_owned(), limit)));
    }

    /// From now on the token is not shown the repository.
    pub(crate) fn blind(&mut self, token: &str, repository: u64) {
        self.unseen.entry(token.to_owned()).or_default().insert(repository);
    }

    /// The repositories that are not shown to who sends this token.
    pub(crate) fn unseen(&self, token: Option<&str>) -> HashSet<u64> {
        token.and_then(|token| self.unseen.get(token)).cloned().unwrap_or_default()
    }

    pub(crate) fn end(&mut self, login: &str, at: &str) {
        self.ends.insert(login.to_owned(), at.to_owned());
    }

    pub(crate) fn ends_at(&self, caller: &Caller) -> Option<String> {
        match caller {
            Caller::User(login) => self.ends.get(login).cloned(),
            _ => None,
        }
    }

    /// Whose token it is. `None` when nobody's.
    pub(crate) fn caller(&self, token: Option<&str>, options: &Options) -> Option<Caller> {
        let Some(token) = token else { return Some(Caller::Anonymous) };
        match self.tokens.get(token) {
            Some(None) => None,
            Some(Some((login, _))) => Some(Caller::User(login.clone())),
            None if options.any_token && token.starts_with("simulated-") => Some(Caller::User(token.to_owned())),
            None if token.split('.').count() == 3 && token.starts_with("ey") => Some(Caller::App),
            None => None,
        }
    }

    fn limit_of(&self, caller: &Caller, resource: &str, options: &Options) -> u64 {
        match (caller, resource) {
            (Caller::Anonymous, "graphql") => 0,
            (Caller::Anonymous, _) => options.anonymous_limit,
            (_, "graphql") => options.graphql_limit,
            (Caller::User(login), _) => {
                let own = self.tokens.values().flatten().find(|(other, _)| other == login);
                own.map_or(options.core_limit, |(_, limit)| *limit)
            }
            (Caller::App, _) => options.core_limit,
        }
    }

    pub(crate) fn budget(&mut self, caller: &Caller, resource: &'static str, options: &Options) -> Budget {
        let now = self.now_ms() / 1_000;
        let limit = self.limit_of(caller, resource, options);
        let fresh = Budget { limit, used: 0, reset: now + options.window.as_secs() };
        let budget = self.budgets.entry((caller.clone(), resource)).or_insert(fresh);
        if now >= budget.reset {
            *budget = fresh;
        }
        *budget
    }

    /// Takes points from the budget. False when there are not enough.
    pub(crate) fn charge(&mut self, caller: &Caller, resource: &'static str, points: u64, options: &Options) -> bool {
        if self.budget(caller, resource, options).remaining() < points {
            return false;
        }
        if let Some(budget) = self.budgets.get_mut(&(caller.clone(), resource)) {
            budget.used += points;
        }
        true
    }

    pub(crate) fn refund(&mut self, caller: &Caller, resource: &'static str) {
        if let Some(budget) = self.budgets.get_mut(&(caller.clone(), resource)) {
            budget.used = budget.used.saturating_sub(1);
        }
    }

    /// Uses a budget up until then.
    pub(crate) fn exhaust(&mut self, caller: &Caller, resource: &'static str, reset_in: u64, options: &Options) {
        let mut budget = self.budget(caller, resource, options);
        budget.used = budget.limit;
        budget.reset = self.now_ms() / 1_000 + reset_in;
        self.budgets.insert((caller.clone(), resource), budget);
    }

    /// Counts a request of this minute. False when there were too many.
    pub(crate) fn count_minute(&mut self, caller: &Caller, points: u64, options: &Options) -> bool {
        let Some(most) = options.points_a_minute else { return true };
        let minute = self.now_ms() / 60_000;
        let entry = self.minutes.entry(caller.clone()).or_insert((minute, 0));
        if entry.0 != minute {
            *entry = (minute, 0);
        }
        entry.1 += points;
        entry.1 <= most
    }

    /// Remembers that the caller was told to wait until then: for one resource, or for [`EVERYTHING`].
    pub(crate) fn tell(&mut self, caller: &Caller, scope: &'static str, until_ms: u64) {
        let key = (caller.clone(), scope);
        let old = self.told.get(&key).filter(|told| told.until > self.now_ms());
        let since = old.map_or_else(Instant::now, |told| told.since);
        let until = old.map_or(until_ms, |told| told.until.max(until_ms));
        self.told.insert(key, Told { until, since });
    }

    /// Whether the caller must still wait, and whether it should know by now.
    pub(crate) fn waiting(
        &self,
        caller: &Caller,
        resource: &'static str,
        options: &Options,
    ) -> Option<(Refusal, bool)> {
        [EVERYTHING, resource].iter().find_map(|scope| {
            let told = self.told.get(&(caller.clone(), *scope))?;
            let left = told.until.checked_sub(self.now_ms() + 50)?;
            let refusal = if *scope == EVERYTHING {
                Refusal::Secondary { retry_after: Some(left.div_ceil(1_000).max(1)) }
            } else {
                Refusal::Primary
            };
            Some((refusal, told.since.elapsed() > options.grace))
        })
    }
}
