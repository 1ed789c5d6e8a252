//! `gharvest keys`: API keys, of which only a hash is stored, and users whom a proxy names, who need none.

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use gharvest_archive::{ApiKey, Archive};
use gharvest_model::{RepositoryId, RepositoryName};
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
        /// No key: NAME is a user, whom the proxy names in the header `[web] user_header`
        #[arg(long)]
        user: bool,
        /// What it may do
        #[arg(long, value_enum, default_value_t = Role::Read)]
        role: Role,
        /// A private repository that it may read, OWNER/NAME, or `*` for all; can be given again. One that is mirrored
        /// stays readable under another name
        #[arg(long, value_name = "REPOSITORY")]
        private: Vec<String>,
    },
    /// List the keys and users
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key, or what a user may do
    Revoke {
        /// The key's or the user's name
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
        Action::Add { name, user, role, private } => match new_key(&archive, name, user, role, private).await? {
            Some(secret) => {
                say("This is the only time the key is shown. Send it as `Authorization: Bearer KEY`.");
                line(secret);
            }
            None => say("added"),
        },
        Action::List { json } => list(&archive, json).await?,
        Action::Revoke { name } => revoke(&archive, &name).await?,
    }
    Ok(Exit::Done)
}

/// Makes a key, and returns its secret; or an entry for a user, who has none.
async fn new_key(
    archive: &Archive,
    name: String,
    user: bool,
    role: Role,
    private: Vec<String>,
) -> anyhow::Result<Option<String>> {
    if archive.keys().await?.iter().any(|key| key.name == name) {
        bail!("there is a key or a user named `{name}` already: revoke it first, or take another name");
    }
    let (repositories, private) = known(archive, private).await?;
    let secret = match user {
        true => None,
        false => Some(gharvest_web::access::new_key().context("no randomness for a key")?),
    };
    let key = ApiKey {
        name,
        hash: secret.as_deref().map(gharvest_web::access::hash_key).unwrap_or_default(),
        role: role.as_str().to_owned(),
        private,
        repositories,
        created_at: Timestamp::now(),
    };
    archive.update_keys(&move |keys| keys.push(key.clone())).await?;
    Ok(secret)
}

async fn list(archive: &Archive, as_json: bool) -> anyhow::Result<()> {
    let keys = archive.keys().await?;
    let mut shown = Vec::with_capacity(keys.len());
    for key in keys {
        let user = key.is_user();
        let ApiKey { name, role, mut private, repositories, created_at, .. } = key;
        for id in repositories {
            let file = archive.repository(id).await?;
            private.push(file.map_or_else(|| id.to_string(), |file| file.full_name.to_string()));
        }
        shown.push(Shown { name, user, role, private, created_at });
    }
    if as_json {
        return json(&shown);
    }
    for key in shown {
        let user = if key.user { "\tuser" } else { "" };
        line(format_args!("{}\t{}\t{}\t{}{user}", key.name, key.role, key.created_at, key.private.join(",")));
    }
    Ok(())
}

/// A key as it is listed: without its hash, repositories by the names they have now.
#[derive(Debug, serde::Serialize)]
struct Shown {
    name: String,
    user: bool,
    role: String,
    private: Vec<String>,
    created_at: Timestamp,
}

/// The ids of repositories that are mirrored, and the names of all others: names pass from one repository to another.
async fn known(archive: &Archive, private: Vec<String>) -> anyhow::Result<(Vec<RepositoryId>, Vec<String>)> {
    let (mut ids, mut names) = (Vec::new(), Vec::new());
    for name in private {
        let known = match name.parse::<RepositoryName>() {
            Ok(name) => archive.resolve(&name).await?,
            Err(_) if name == "*" => None,
            Err(error) => bail!("`{name}`: {error}; `*` stands for all"),
        };
        match known {
            Some(id) => ids.push(id),
            None => names.push(name),
        }
    }
    Ok((ids, names))
}

async fn revoke(archive: &Archive, name: &str) -> anyhow::Result<()> {
    if !archive.keys().await?.iter().any(|key| key.name == name) {
        bail!("there is no key and no user named `{name}`: `gharvest keys list` names them");
    }
    let name = name.to_owned();
    archive.update_keys(&move |keys| keys.retain(|key| key.name != name)).await?;
    say("revoked");
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_key_is_bound_to_what_is_mirrored_and_by_name_to_what_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file:{}", folder.path().display());
        let archive = Archive::open(&url, &gharvest_archive::Options::default()).await.unwrap();
        let file = json!({"id": 7, "full_name": "a/b", "fetched_at": Timestamp::UNIX_EPOCH});
        archive.put_repository(&serde_json::from_value(file).unwrap()).await.unwrap();
        let private = ["A/B", "c/d", "*"].map(str::to_owned).to_vec();
        new_key(&archive, "reader".to_owned(), false, Role::Read, private).await.unwrap().unwrap();
        let key = archive.keys().await.unwrap().remove(0);
        assert_eq!((key.repositories, key.private), (vec![RepositoryId(7)], vec!["c/d".to_owned(), "*".to_owned()]));
        let unnamed = vec!["a".to_owned()];
        let refused = new_key(&archive, "other".to_owned(), false, Role::Read, unnamed).await.unwrap_err();
        assert!(refused.to_string().starts_with("`a`: "), "{refused}");
        // A user has no secret, and takes no key's name.
        let user = async |name: &str| new_key(&archive, name.to_owned(), true, Role::Operate, Vec::new()).await;
        assert_eq!(user("ann").await.unwrap(), None);
        assert!(user("reader").await.is_err());
        let users: Vec<_> = archive.keys().await.unwrap().iter().map(|key| (key.name.clone(), key.is_user())).collect();
        assert_eq!(users, [("reader".to_owned(), false), ("ann".to_owned(), true)]);
    }
}
