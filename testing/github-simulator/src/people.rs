//! The accounts of a world: a team, many reporters, bots, and the ghost that stands for deleted accounts.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{node_id, random::mix, state::View, text, token::Token};

/// The account that GitHub shows for a deleted author.
pub(crate) const GHOST: u64 = 10_137;
/// Whether it is a bot's: bots own no repositories, so they push to those that they work on.
pub(crate) fn is_bot(id: u64) -> bool {
    matches!(id, DEPENDABOT | ACTIONS | COPILOT)
}

pub(crate) const DEPENDABOT: u64 = 49_699_333;
pub(crate) const ACTIONS: u64 = 41_898_282;
pub(crate) const COPILOT: u64 = 198_982_749;
/// The organization whose Apps do the bots' work.
pub(crate) const GITHUB: u64 = 9_919;
/// How many of the first people belong to the project's team.
pub(crate) const TEAM: u64 = 8;

#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) id: u64,
    pub(crate) login: String,
    pub(crate) kind: &'static str,
}

/// Everybody, by id.
#[derive(Debug, Clone)]
pub(crate) struct People {
    by_id: BTreeMap<u64, User>,
    ordered: Vec<u64>,
}

impl People {
    pub(crate) fn new(seed: u64, count: u64) -> Self {
        let mut people = Self { by_id: BTreeMap::new(), ordered: Vec::new() };
        for (id, login, kind) in [
            (GHOST, "ghost", "User"),
            (GITHUB, "github", "Organization"),
            (DEPENDABOT, "dependabot[bot]", "Bot"),
            (ACTIONS, "github-actions[bot]", "Bot"),
            (COPILOT, "Copilot", "Bot"),
        ] {
            people.by_id.insert(id, User { id, login: login.to_owned(), kind });
        }
        for index in 0..count {
            let id = 200_000 + index * 12_289 + mix(seed, &[7, index]) % 12_000;
            people.by_id.insert(id, User { id, login: text::login(index), kind: "User" });
            people.ordered.push(id);
        }
        people
    }

    pub(crate) fn get(&self, id: u64) -> Option<&User> {
        self.by_id.get(&id)
    }

    pub(crate) fn by_login(&self, login: &str) -> Option<&User> {
        self.by_id.values().find(|user| user.login.eq_ignore_ascii_case(login))
    }

    /// The account of this login, made now when it does not exist yet.
    pub(crate) fn ensure(&mut self, login: &str) -> u64 {
        if let Some(user) = self.by_login(login) {
            return user.id;
        }
        let id = self.by_id.keys().next_back().map_or(1, |last| last + 17);
        self.by_id.insert(id, User { id, login: login.to_owned(), kind: "User" });
        id
    }

    pub(crate) fn rename(&mut self, id: u64, login: &str) {
        if let Some(user) = self.by_id.get_mut(&id) {
            login.clone_into(&mut user.login);
        }
    }

    /// Someone of the team.
    pub(crate) fn member(&self, random: &mut fastrand::Rng) -> u64 {
        self.ordered[random.u64(..TEAM) as usize]
    }

    /// Anybody: a few speak often, most speak once.
    pub(crate) fn anybody(&self, random: &mut fastrand::Rng) -> u64 {
        let share = random.f64().powi(3);
        self.ordered[((self.ordered.len() as f64) * share) as usize]
    }

    /// What the person is to the project, as `author_association` says it.
    pub(crate) fn association(&self, id: Option<u64>) -> &'static str {
        let place = id.and_then(|id| self.ordered.binary_search(&id).ok()).map_or(u64::MAX, |place| place as u64);
        match place {
            0..5 => "MEMBER",
            5..TEAM => "COLLABORATOR",
            _ if place < TEAM + self.ordered.len() as u64 / 10 => "CONTRIBUTOR",
            _ if id.is_some_and(is_bot) => "CONTRIBUTOR",
            _ => "NONE",
        }
    }
}

impl User {
    /// GitHub's short object of an account; `tick` moves the query of the picture. Their own is `private` to those who
    /// ask.
    pub(crate) fn object(&self, view: View) -> Value {
        let tick = view.tick;
        let path = self.login.replace('[', "%5B").replace(']', "%5D");
        let api = |rest: &str| Token::Api(&format!("/users/{path}{rest}")).text();
        let page = match (self.kind, self.login.strip_suffix("[bot]")) {
            ("Bot", Some(slug)) => format!("/apps/{slug}"),
            ("Bot", None) => "/apps/copilot-swe-agent".to_owned(),
            _ => format!("/{}", self.login),
        };
        let prefix = match self.kind {
            "Bot" => "BOT",
            "Organization" => "O",
            _ => "U",
        };
        let picture = if tick.is_multiple_of(2) { String::new() } else { format!("u={:x}&", mix(tick, &[self.id])) };
        json!({
            "login": self.login,
            "id": self.id,
            "node_id": node_id::user(self.kind, prefix, self.id),
            "avatar_url": Token::Web(&format!("/_avatars/u/{}?{picture}v=4", self.id)).text(),
            "gravatar_id": "",
            "url": api(""),
            "html_url": Token::Web(&page).text(),
            "followers_url": api("/followers"),
            "following_url": api("/following{/other_user}"),
            "gists_url": api("/gists{/gist_id}"),
            "starred_url": api("/starred{/owner}{/repo}"),
            "subscriptions_url": api("/subscriptions"),
            "organizations_url": api("/orgs"),
            "repos_url": api("/repos"),
            "events_url": api("/events{/privacy}"),
            "received_events_url": api("/received_events"),
            "type": self.kind,
            "user_view_type": if view.viewer == Some(self.id) { "private" } else { "public" },
            "site_admin": false,
        })
    }
}
