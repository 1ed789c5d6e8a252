//! Settings that change while a process runs.
//!
//! The file, and the files that variables name, are read again every second. What is different and valid is taken; what
//! is not is refused with the sentences that a start would print, and the former settings stay. A process takes a change
//! as a whole: it ends its work in hand as at a stop and begins again with the new settings, on the same sockets.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use toml::Table;

use crate::{Settings, load::Loaded, process::CommonArgs};

const EVERY: Duration = Duration::from_secs(1);

/// Other settings, valid ones.
#[derive(Debug, Clone)]
pub struct Change {
    /// The settings as a whole.
    pub settings: Arc<Settings>,
    /// What is different, as in `[web] listen`.
    pub names: Vec<String>,
}

impl Change {
    /// Whether something of this section is different.
    pub fn is_in(&self, section: &str) -> bool {
        self.names.iter().any(|name| {
            name.strip_prefix('[').and_then(|name| name.split_once(']')).is_some_and(|(named, _)| named == section)
        })
    }
}

/// Where changes come from, and what was seen last.
#[derive(Debug)]
pub struct Changes {
    common: CommonArgs,
    seen: Table,
    refused: String,
}

impl Changes {
    /// Follows what these were loaded from.
    pub fn new(common: &CommonArgs, loaded: &Loaded) -> Self {
        Self { common: common.clone(), seen: loaded.merged().clone(), refused: String::new() }
    }

    /// Waits for other settings that are valid.
    pub async fn next(&mut self) -> Change {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(change) = self.look() {
                return change;
            }
        }
    }

    /// Reads the settings once. Each change is said once.
    fn look(&mut self) -> Option<Change> {
        let loaded = match self.common.load() {
            Ok(loaded) => loaded,
            Err(error) => {
                let sentences = error.to_string();
                if self.refused != sentences {
                    refuse(&sentences);
                    self.refused = sentences;
                }
                return None;
            }
        };
        self.refused.clear();
        let names = differences(&self.seen, loaded.merged());
        if names.is_empty() {
            return None;
        }
        tracing::info!(settings = names.join(", "), "settings have changed");
        if names
            .iter()
            .any(|name| name.ends_with("] listen") || name.starts_with("[log]") || name.starts_with("[trace]"))
        {
            tracing::warn!(
                "an address to listen on, how logs are written and where traces go change when the process starts again"
            );
        }
        self.seen = loaded.merged().clone();
        Some(Change { settings: Arc::new(loaded.settings), names })
    }
}

/// Says that a change is not taken.
pub fn refuse(sentences: &str) {
    tracing::error!("changed settings are refused, the former stay: {sentences}");
    metrics::counter!("gharvest_settings_refused_total").increment(1);
}

/// The names of the settings that differ, never their values: some are secrets.
fn differences(former: &Table, latter: &Table) -> Vec<String> {
    let mut names = Vec::new();
    for (section, fields) in latter {
        let before = former.get(section);
        for (name, value) in fields.as_table().into_iter().flatten() {
            if before.and_then(|before| before.get(name)) != Some(value) {
                names.push(format!("[{section}] {name}"));
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use std::fs;

    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn valid_changes_are_taken_once_and_invalid_ones_never() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gharvest.toml");
        let write = |text: &str| fs::write(&file, text).unwrap();
        write("[webhook]\nsecrets = [\"first\"]");
        let common = CommonArgs { config: Some(file.clone()), data_dir: Some(folder.path().to_owned()), log: None };
        let mut changes = Changes::new(&common, &common.load().unwrap());
        assert!(changes.look().is_none());

        write("[webhook]\nsecrets = [\"second\"]\n[queue]\nmax_attempts = 0");
        assert!(changes.look().is_none());
        assert!(changes.refused.contains("[queue] max_attempts"), "{}", changes.refused);
        write("[webhook\n");
        assert!(changes.look().is_none());
        fs::remove_file(&file).unwrap();
        assert!(changes.look().is_none(), "a file that is gone is no change to the defaults");

        write("[webhook]\nsecrets = [\"second\"]");
        let taken = changes.look().unwrap();
        assert_eq!(taken.settings.webhook.secrets[0].expose_secret(), "second");
        assert!(taken.is_in("webhook") && !taken.is_in("web"), "{:?}", taken.names);
        assert!(changes.look().is_none());
    }

    #[test]
    fn changes_are_named_and_their_values_are_not() {
        let table = |text: &str| text.parse::<Table>().unwrap();
        let former = table("[webhook]\nsecrets = [\"canary\"]\nmax = 1\n[web]\nlisten = \"a\"");
        let latter = table("[webhook]\nsecrets = [\"other\"]\nmax = 1\n[web]\nlisten = \"b\"");
        assert_eq!(differences(&former, &latter), ["[web] listen", "[webhook] secrets"]);
        assert!(differences(&former, &former).is_empty());
    }
}
