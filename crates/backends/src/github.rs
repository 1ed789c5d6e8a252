//! The client of GitHub as set.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use gharvest_github::{AppInstallation, Client, Config, PersonalToken, TokenUse};
use gharvest_service_kit::{Settings, settings::GithubSettings};
use gharvest_state::State;
use secrecy::ExposeSecret;

/// Makes the client; its budgets are shared through the state.
pub fn github(settings: &Settings, state: Option<Arc<dyn State>>) -> anyhow::Result<Client> {
    let github = &settings.github;
    let config = Config {
        api_url: github.api_url.clone(),
        tokens: tokens(github),
        installations: installations(github)?,
        request_timeout: github.request_timeout,
        max_body_bytes: github.max_body_bytes,
        concurrency: github.concurrency,
        points_per_minute: github.points_per_minute,
        reserve: github.reserve,
        user_agent: github.user_agent.clone(),
        ..Config::default()
    };
    Client::with_state(config, state).context("setting up the client of GitHub")
}

/// Has a client use the tokens of changed settings. If they cannot be used, those so far stay.
pub fn set_tokens(client: &Client, settings: &Settings) -> anyhow::Result<()> {
    let github = &settings.github;
    Ok(client.set_tokens(&tokens(github), &installations(github)?)?)
}

/// Asks GitHub what each token is, and says in the log what it cannot see, or why it is of no use.
pub async fn examine_tokens(client: &Client) {
    if let Err(error) = client.refresh_budgets().await {
        tracing::warn!(%error, "GitHub does not say what the tokens are");
    }
    for report in client.tokens() {
        match &report.trouble {
            Some(trouble) => tracing::warn!(token.name = report.token, trouble, "Token is of no use"),
            None => tracing::info!(
                token.name = report.token,
                kind = ?report.kind,
                used_for = ?report.used_for,
                scopes = report.scopes.as_ref().map(|scopes| scopes.join(" ")),
                "Token {}",
                report.blindness()
            ),
        }
    }
}

fn tokens(github: &GithubSettings) -> Vec<PersonalToken> {
    let token = |text: &secrecy::SecretString| {
        let (used_for, secret) = reserved(text.expose_secret());
        PersonalToken { secret: secret.into(), used_for }
    };
    github.tokens.iter().map(token).collect()
}

fn installations(github: &GithubSettings) -> anyhow::Result<Vec<AppInstallation>> {
    let (app, key) = (github.app.trim(), &github.app_private_key);
    if app.is_empty() && key.expose_secret().trim().is_empty() && github.app_installations.is_empty() {
        return Ok(Vec::new());
    }
    ensure!(!app.is_empty(), "[github] app must name the App of app_installations: its client id or numeric id");
    ensure!(!key.expose_secret().trim().is_empty(), "[github] app_private_key must be the App's private key, PEM");
    if github.app_installations.is_empty() {
        bail!("[github] app_installations must name an installation: the number at the end of its address on GitHub");
    }
    let installation = |text: &String| {
        let (used_for, id) = reserved(text);
        let installation = id.parse().with_context(|| {
            format!("[github] app_installations: `{id}` is no installation's id, which is a number, as in 12345")
        })?;
        Ok(AppInstallation { app: app.to_owned(), private_key: key.clone(), installation, used_for })
    };
    github.app_installations.iter().map(installation).collect()
}

/// `live=X` and `scheduled=X` reserve X; no token of GitHub's has such a beginning.
fn reserved(text: &str) -> (TokenUse, &str) {
    match text.trim().split_once('=') {
        Some(("live", rest)) => (TokenUse::Live, rest),
        Some(("scheduled", rest)) => (TokenUse::Scheduled, rest),
        _ => (TokenUse::Anything, text.trim()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gharvest_github::TokenKind;
    use gharvest_service_kit::load::Sources;

    use super::*;

    const KEY: &str = include_str!("../../github/testdata/app-key.pem");

    fn settings(variables: &[(&str, &str)]) -> Settings {
        let environment: BTreeMap<_, _> =
            variables.iter().map(|(name, value)| (format!("GHARVEST_GITHUB__{name}"), (*value).to_owned())).collect();
        let folder = tempfile::tempdir().unwrap();
        let sources = Sources { config: None, data_dir: Some(folder.path().to_owned()), environment };
        sources.load().unwrap().settings
    }

    #[tokio::test]
    async fn tokens_and_installations_are_read_with_what_they_are_for() {
        let variables = [
            ("TOKENS", "ghp_a,live=ghp_b"),
            ("APP", "12"),
            ("APP_PRIVATE_KEY", KEY),
            ("APP_INSTALLATIONS", "scheduled=7,8"),
        ];
        let client = github(&settings(&variables), None).unwrap();
        let read: Vec<_> = client.tokens().into_iter().map(|one| (one.token, one.kind, one.used_for)).collect();
        let expected = [
            ("token 1", TokenKind::Classic, TokenUse::Anything),
            ("token 2", TokenKind::Classic, TokenUse::Live),
            ("installation 7", TokenKind::Installation, TokenUse::Scheduled),
            ("installation 8", TokenKind::Installation, TokenUse::Anything),
        ];
        assert_eq!(read, expected.map(|(name, kind, used_for)| (name.to_owned(), kind, used_for)));

        set_tokens(&client, &settings(&[("TOKENS", "github_pat_c")])).unwrap();
        assert_eq!(client.tokens().len(), 1);
        assert_eq!(client.tokens()[0].kind, TokenKind::FineGrained);
    }

    #[tokio::test]
    async fn what_cannot_be_used_is_refused_by_name_and_without_its_secret() {
        let client = github(&settings(&[("TOKENS", "ghp_a")]), None).unwrap();
        let app = ("APP", "12");
        let (key, ids) = (("APP_PRIVATE_KEY", KEY), ("APP_INSTALLATIONS", "7"));
        for (variables, said) in [
            (vec![key, ids], "[github] app must"),
            (vec![app, ids], "[github] app_private_key must"),
            (vec![app, key], "[github] app_installations must"),
            (vec![app, key, ("APP_INSTALLATIONS", "seven")], "`seven` is no installation's id"),
            (vec![app, ids, ("APP_PRIVATE_KEY", "secret-canary")], "is not PEM"),
            (vec![("TOKENS", "live=secret-canary")], "one must be free for scheduled work"),
            (vec![("TOKENS", "scheduled=secret-canary")], "one must be free for live work"),
        ] {
            let settings = settings(&variables);
            let errors = [github(&settings, None).unwrap_err(), set_tokens(&client, &settings).unwrap_err()];
            for error in errors.map(|error| format!("{error:#}")) {
                assert!(error.contains(said) && !error.contains("canary"), "{error}");
            }
            assert!(!format!("{:?}", settings.github).contains("canary"));
        }
        assert_eq!(client.tokens().len(), 1, "what was there stays");
    }
}
