//! `gharvest doctor`: what is wrong with this set-up, and what to do.

use std::{collections::BTreeSet, sync::Arc};

use clap::Args;
use gharvest_archive::Archive;
use gharvest_github::{Answer, Client, Purpose, Resource, TokenKind, TokenReport, TokenUse};
use gharvest_model::{QueueName, progress::UpdatesCursor};
use gharvest_queue::{Durability, QueueAdmin};
use gharvest_search::SearchIndex;
use gharvest_service_kit::{
    Settings,
    process::{CommonArgs, Exit},
};
use gharvest_state::feed::{self, Heard};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use crate::output::{DIM, GREEN, RED, bytes, json, line};

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Ask nothing of GitHub
    #[arg(long)]
    offline: bool,
}

/// What was looked at, and what was found.
#[derive(Debug, Serialize)]
struct Finding {
    about: &'static str,
    found: String,
    /// What to do; none if all is well.
    remedy: Option<String>,
}

#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn well(&mut self, about: &'static str, found: impl Into<String>) {
        self.0.push(Finding { about, found: found.into(), remedy: None });
    }

    fn wrong(&mut self, about: &'static str, found: impl std::fmt::Display, remedy: impl Into<String>) {
        self.0.push(Finding { about, found: found.to_string(), remedy: Some(remedy.into()) });
    }
}

/// Exits with 3 when something is wrong.
pub(crate) async fn run(common: &CommonArgs, args: DoctorArgs) -> anyhow::Result<Exit> {
    let loaded = common.load()?;
    let settings = loaded.settings;
    let mut findings = Findings::default();
    for warning in loaded.warnings {
        findings.wrong("settings", warning, "remove the variable, or correct its name");
    }
    findings.well("settings", format!("read; data folder {}", settings.data_dir.display()));
    check_webhook(&settings, &mut findings);
    check_notify(&settings, &mut findings);
    let archive = check_archive(&settings, &mut findings).await;
    check_queue(&settings, &mut findings).await;
    if let Some(archive) = &archive {
        check_deliveries(&settings, archive, &mut findings).await;
    }
    check_index(&settings, archive.as_ref(), &mut findings).await;
    if !args.offline {
        check_github(&settings, archive.as_ref(), &mut findings).await;
    }
    let healthy = findings.0.iter().all(|finding| finding.remedy.is_none());
    if args.json {
        json(&findings.0)?
    } else {
        print(&findings.0)
    }
    Ok(if healthy { Exit::Done } else { Exit::Differs })
}

fn check_webhook(settings: &Settings, findings: &mut Findings) {
    let webhook = &settings.webhook;
    if webhook.allow_unsigned {
        findings.wrong(
            "webhook",
            "unsigned deliveries are accepted",
            "set [webhook] allow_unsigned to false and give the hook a secret",
        );
    } else if !webhook.takes_deliveries() {
        findings
            .well("webhook", "no secret set: deliveries are refused, changes are found by asking every few minutes");
    } else {
        let of_one = webhook.secrets_of.len();
        let all = webhook.secrets.len() + of_one;
        findings.well("webhook", format!("{all} secret(s) set, {of_one} of them for one owner or repository alone"));
    }
}

fn check_notify(settings: &Settings, findings: &mut Findings) {
    let is_set = |url: &SecretString| !url.expose_secret().is_empty();
    match (is_set(&settings.notify.url), is_set(&settings.notify.ping_url)) {
        (true, true) => findings.well("notify", "somebody is told of alarms, and of a seeder that stops"),
        (true, false) => {
            findings.well("notify", "somebody is told of alarms; [notify] ping_url would tell of a seeder that stops")
        }
        (false, _) => findings.well(
            "notify",
            "nobody is told when something needs a person; [notify] url would: an address that takes JSON with a \
             `text`, as most chat services have",
        ),
    }
}

/// A hook that was heard is heard again within a week of what changes, or somebody should look at it on GitHub. Where none
/// was ever heard there may be none: not every repository is one's own. One that was heard of is there, whatever this
/// process knows of secrets: that takes another one.
async fn check_deliveries(settings: &Settings, archive: &Archive, findings: &mut Findings) {
    const QUIET: SignedDuration = SignedDuration::from_hours(7 * 24);
    let are_taken = settings.webhook.takes_deliveries();
    // What is wrong with the list of what is tracked was said already.
    let Ok(tracking) = archive.tracking().await else { return };
    let state = match gharvest_backends::state(settings).await {
        Ok(state) => state,
        Err(error) => {
            return findings.wrong("webhook", format!("{error:#}"), "check [queue] url, which has the state as well");
        }
    };
    for tracked in tracking {
        let heard: Option<Heard> = match feed::get(&*state, tracked.id).await {
            Ok(heard) => heard,
            Err(error) => return findings.wrong("webhook", error, "check [queue] url, which has the state as well"),
        };
        let Some(Heard { at, .. }) = heard else {
            if are_taken {
                let found = format!("{} was never heard of: its changes are found by asking", tracked.name);
                findings.well("webhook", found);
            }
            continue;
        };
        let changed_at = match archive.cursor(&UpdatesCursor::feed(tracked.id)).await {
            Ok(cursor) => UpdatesCursor::read(cursor).map(|cursor| cursor.since),
            Err(error) => return findings.wrong("archive", error, "it must belong to the user of the components"),
        };
        let found = format!("{} was last heard at {at}", tracked.name);
        match changed_at.filter(|changed| changed.duration_since(at) > QUIET) {
            None => findings.well("webhook", found),
            Some(changed) => findings.wrong(
                "webhook",
                format!("{found}, and changed at {changed}"),
                "see under Webhooks in its settings on GitHub whether the hook is there and what it was answered; \
                 changes are found by asking meanwhile",
            ),
        }
    }
}

async fn check_archive(settings: &Settings, findings: &mut Findings) -> Option<Archive> {
    let archive = match gharvest_backends::archive(settings).await {
        Ok(archive) => archive,
        Err(error) => {
            findings.wrong(
                "archive",
                format!("{error:#}"),
                "check the path or address in [archive] url, and its permissions",
            );
            return None;
        }
    };
    // What cannot be written is found by writing: permissions are more than bits.
    match archive.set_cursor("doctor", serde_json::json!({ "at": Timestamp::now() })).await {
        Ok(()) => findings.well("archive", "can be read and written"),
        Err(error) => findings.wrong("archive", error, "it must belong to the user whom the components run as"),
    }
    match archive.space().await {
        Ok(space) => match space.free {
            Some(free) if free < settings.archive.min_free_bytes => {
                let remedy = "make room: downloads are paused below [archive] min_free_bytes";
                findings.wrong("disk", format!("{} free", bytes(free)), remedy);
            }
            Some(free) => findings.well("disk", format!("{} free", bytes(free))),
            None => findings.well("disk", "object storage"),
        },
        Err(error) => findings.wrong("disk", error, "the free space cannot be read"),
    }
    check_tracking(&archive, findings).await;
    Some(archive)
}

async fn check_tracking(archive: &Archive, findings: &mut Findings) {
    match archive.tracking().await {
        Ok(tracking) if tracking.is_empty() => {
            findings.wrong("tracking", "no repository is tracked", "gharvest track OWNER/NAME")
        }
        Ok(tracking) => {
            findings.well("tracking", format!("{} repositories", tracking.len()));
            for tracked in tracking {
                if let Some(trouble) = tracked.trouble {
                    findings.wrong(
                        "tracking",
                        format!("{}: {trouble}", tracked.name),
                        "see what GitHub says of the repository; it is tried again every hour",
                    );
                }
            }
        }
        Err(error) => findings.wrong("tracking", error, "restore tracking.json from a snapshot"),
    }
}

async fn check_queue(settings: &Settings, findings: &mut Findings) {
    let queue: Arc<dyn QueueAdmin> = match gharvest_backends::queue(settings).await {
        Ok(queue) => queue,
        Err(error) => {
            return findings.wrong("queue", format!("{error:#}"), "check [queue] url, and that the server runs");
        }
    };
    match queue.durability().await {
        Ok(Durability { loss, remedy: Some(remedy) }) => findings.wrong("queue", loss, remedy),
        Ok(durability) => findings.well("queue", durability.loss),
        Err(error) => findings.wrong("queue", error, "check that the server runs"),
    }
    match queue.now().await {
        Ok(now) => judge_clock("the queue's server", Timestamp::now().duration_since(now), findings),
        Err(error) => findings.wrong("clock", error, "check that the queue's server runs"),
    }
    for name in QueueName::ALL {
        match queue.counts(name).await {
            Ok(counts) if counts.buried > 0 => {
                let remedy = "see `gharvest status` for the reasons, then `queue-cli buried revive`";
                findings.wrong("queue", format!("{} {name} jobs are buried", counts.buried), remedy);
            }
            Ok(_) => {}
            Err(error) => findings.wrong("queue", error, "check that the server runs"),
        }
    }
    match queue.verify().await {
        Ok(differences) if differences.is_empty() => findings.well("queue", "counters agree with the jobs"),
        Ok(differences) => findings.wrong(
            "queue",
            differences.join("; "),
            "stop all processes and report this: the counters must never differ",
        ),
        Err(error) => findings.wrong("queue", error, "the queue cannot be recounted"),
    }
}

async fn check_index(settings: &Settings, archive: Option<&Archive>, findings: &mut Findings) {
    if let Some(folder) = gharvest_backends::index_folder(settings)
        && !folder.try_exists().unwrap_or(false)
    {
        return findings.well("index", "none yet: it is made by the first `gharvest up`, `mirror` or `rebuild`");
    }
    let index: Arc<dyn SearchIndex> = match gharvest_backends::index_read_only(settings).await {
        Ok(index) => index,
        Err(error) => {
            return findings.wrong(
                "index",
                format!("{error:#}"),
                "check [search] url; an embedded index can be made anew: gharvest rebuild",
            );
        }
    };
    match index.status().await {
        Ok(status) => {
            if archive.is_some_and(|archive| archive.id() != status.archive) {
                findings.wrong(
                    "index",
                    "it belongs to another archive",
                    "point [search] url elsewhere, or make it anew: gharvest rebuild",
                );
            }
            if status.outdated {
                findings.wrong(
                    "index",
                    "an earlier version of the program made it",
                    "make it anew: gharvest rebuild; an embedded one is made anew by `gharvest up` when it starts",
                );
            }
            if let Some(trouble) = status.trouble {
                findings.wrong("index", trouble.found, trouble.remedy);
            }
            if status.rebuilding {
                findings.well("index", "a rebuild is under way, or was left: `gharvest rebuild` begins it again");
            }
            let count: u64 = status.documents.iter().map(|(_, count)| count).sum();
            findings.well("index", format!("{}, {count} documents, mapping {}", status.engine, status.mapping));
        }
        Err(error) => {
            findings.wrong("index", error, "check that the engine runs, or make the index anew: gharvest rebuild")
        }
    }
}

/// Clocks that differ by so much are wrong: times of records, leases and tokens depend on them.
const SKEW: SignedDuration = SignedDuration::from_secs(30);

fn judge_clock(whose: &str, ahead: SignedDuration, findings: &mut Findings) {
    let seconds = ahead.as_secs();
    if ahead.abs() > SKEW {
        let found = format!("this machine's clock is {seconds} s ahead of that of {whose}");
        findings.wrong("clock", found, "set the clock, by NTP: `timedatectl set-ntp true`");
    } else {
        findings.well("clock", format!("agrees with that of {whose}"));
    }
}

async fn check_github(settings: &Settings, archive: Option<&Archive>, findings: &mut Findings) {
    let client: Client = match gharvest_backends::github(settings, None) {
        Ok(client) => client,
        Err(error) => return findings.wrong("GitHub", format!("{error:#}"), "check [github]"),
    };
    if let Err(error) = client.refresh_budgets().await {
        findings.wrong("GitHub", error, "check the network, [github] api_url and the tokens");
    }
    if let Some(ahead) = client.clock_ahead() {
        judge_clock("GitHub", ahead, findings);
    }
    let tokens = client.tokens();
    for token in &tokens {
        check_token(token, &tokens, findings);
    }
    check_private(&client, settings, archive, findings).await;
    for budget in client.budgets().into_iter().filter(|budget| budget.trouble.is_none()) {
        findings.well(
            "GitHub",
            format!("{} {}: {} of {} calls left", budget.token, budget.resource, budget.remaining, budget.limit),
        );
    }
}

/// Private repositories, tracked or behind placeholders, need a token that may see them.
async fn check_private(client: &Client, settings: &Settings, archive: Option<&Archive>, findings: &mut Findings) {
    let Some(tracking) = (match archive {
        Some(archive) => archive.tracking().await.ok(),
        None => None,
    }) else {
        return;
    };
    let private = tracking.into_iter().filter(|tracked| tracked.private).map(|tracked| tracked.name);
    let private: BTreeSet<_> =
        private.chain(settings.downloader.twins.iter().map(|twins| twins.private.clone())).collect();
    let is_reserved = client.tokens().iter().any(|token| token.used_for != TokenUse::Anything);
    let purposes: &[(Purpose, &str)] = match is_reserved {
        true => &[(Purpose::Live, "token for live work"), (Purpose::Scheduled, "token for scheduled work")],
        false => &[(Purpose::Live, "token")],
    };
    for name in private {
        for (purpose, token) in purposes {
            match client.get(&Resource::Repository(name.clone()), None, *purpose).await {
                Ok(Answer::Found(_)) => findings.well("GitHub", format!("a {token} sees the private {name}")),
                Ok(_) => findings.wrong(
                    "GitHub",
                    format!("no {token} sees the private {name}"),
                    "give a classic token the scope `repo` of a user who may see it, or install the App on it",
                ),
                Err(error) => findings.wrong("GitHub", error, "check the network and the tokens"),
            }
        }
    }
}

fn check_token(token: &TokenReport, all: &[TokenReport], findings: &mut Findings) {
    let mut found = format!("{}: {}", token.token, token.blindness());
    if token.kind == TokenKind::FineGrained && all.iter().any(|other| stands_in(other, token)) {
        found += "; asked only about repositories that no other token is shown";
    }
    if let Some(scopes) = &token.scopes {
        found += &format!("; scopes: {}", if scopes.is_empty() { "none".to_owned() } else { scopes.join(", ") });
    }
    if let Some(at) = token.ends_at {
        found += &format!("; ends at {at}");
    }
    if let Some(at) = token.ends_soon(Timestamp::now()) {
        let found = format!("{} ends at {at}", token.token);
        findings.wrong("GitHub", found, "make another token, and put it in its place before");
    }
    match (&token.trouble, token.kind) {
        (Some(trouble), _) => findings.wrong("GitHub", format!("{}: {trouble}", token.token), "replace the token"),
        (None, TokenKind::Anonymous) => findings.wrong(
            "GitHub",
            "no token: 60 calls an hour",
            "set GITHUB_TOKEN or [github] tokens; a classic token without scopes reads public repositories",
        ),
        (None, TokenKind::FineGrained) => findings.wrong(
            "GitHub",
            found,
            "use a classic token (without scopes it reads public repositories), or an App's installation",
        ),
        (None, _) => findings.well("GitHub", found),
    }
}

/// Whether another token does a fine-grained one's work without its blindness.
fn stands_in(other: &TokenReport, token: &TokenReport) -> bool {
    let does_its_work = other.used_for == TokenUse::Anything || other.used_for == token.used_for;
    does_its_work && other.kind != TokenKind::FineGrained && other.trouble.is_none()
}

fn print(findings: &[Finding]) {
    for finding in findings {
        match &finding.remedy {
            None => line(format_args!("{GREEN}ok{GREEN:#}    {}: {}", finding.about, finding.found)),
            Some(remedy) => {
                line(format_args!("{RED}wrong{RED:#} {}: {}", finding.about, finding.found));
                line(format_args!("      {DIM}→ {remedy}{DIM:#}"));
            }
        }
    }
}
