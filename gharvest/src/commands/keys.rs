//! `gharvest keys`: API keys, of which only a hash is stored.

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use gharvest_archive::{ApiKey, Archive};
use gharvest_service_kit::process::{CommonArgs, Exit};
use jiff::Timestamp;

use crate::output::{json, line, say};

#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key; it is printed once and never stored
    Add {
        /// Names the key, for `list` and `revoke`
        name: String,
        /// What it may do
        #[arg(long, value_enum, default_value_t = Role::Read)]
        role: Role,
        /// A private repository that it may read, OWNER/NAME, or `*` for all; can be given again
        #[arg(long, value_name = "REPOSITORY")]
        private: Vec<String>,
    },
    /// List the keys
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key
    Revoke {
        /// The key's name
        name: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    /// Read what is public, and the private repositories given
    Read,
    /// Also retry, track, pause
    Operate,
    /// Everything
    Admin,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

pub(crate) async fn run(common: &CommonArgs, args: KeysArgs) -> anyhow::Result<Exit> {
    let settings = common.load()?.settings;
    let archive = gharvest_backends::archive(&settings).await?;
    match args.action {
        Action::Add { name, role, private } => add(&archive, name, role, private).await?,
        Action::List { json } => list(&archive, json).await?,
        Action::Revoke { name } => revoke(&archive, &name).await?,
    }
    Ok(Exit::Done)
}

async fn add(archive: &Archive, name: String, role: Role, private: Vec<String>) -> anyhow::Result<()> {
    if archive.keys().await?.iter().any(|key| key.name == name) {
        bail!("there is a key named `{name}` already: revoke it first, or take another name");
    }
    let secret = gharvest_web::access::new_key().context("no randomness for a key")?;
    let key = ApiKey {
        name,
        hash: gharvest_web::access::hash_key(&secret),
        role: role.as_str().to_owned(),
        private,
        created_at: Timestamp::now(),
    };
    archive.update_keys(&move |keys| keys.push(key.clone())).await?;
    say("This is the only time the key is shown. Send it as `Authorization: Bearer KEY`.");
    line(secret);
    Ok(())
}

async fn list(archive: &Archive, as_json: bool) -> anyhow::Result<()> {
    let keys = archive.keys().await?;
    if as_json {
        let shown: Vec<_> = keys.iter().map(|key| serde_json::json!({ "name": key.name, "role": key.role, "private": key.private, "created_at": key.created_at })).collect();
        return json(&shown);
    }
    for key in keys {
        line(format_args!("{}\t{}\t{}\t{}", key.name, key.role, key.created_at, key.private.join(",")));
    }
    Ok(())
}

async fn revoke(archive: &Archive, name: &str) -> anyhow::Result<()> {
    if !archive.keys().await?.iter().any(|key| key.name == name) {
        bail!("there is no key named `{name}`: `gharvest keys list` names them");
    }
    let name = name.to_owned();
    archive.update_keys(&move |keys| keys.retain(|key| key.name != name)).await?;
    say("revoked");
    Ok(())
}
