//! Settings that change while a process runs.
//!
//! The file, and the files that variables name, are read again every second. What is different and valid is taken; what
//! is not is refused with the sentences that a start would print, and the former settings stay. A process takes a change
//! as a whole: it ends its work in hand as at a stop and begins again with the new settings, on the same sockets. A change
//! that it could not begin with comes again: what it names may have been away for a moment, and nobody changes a file
//! twice to be heard.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval};
use toml::Table;

use crate::{Settings, load::Loaded, process::CommonArgs};

const EVERY: Duration = Duration::from_secs(1);
/// A refused change comes again after the first of these, each time after twice as long, up to the second: a component
/// ends its work in hand to try it.
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

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

/// Where changes come from, and what the process goes by.
#[derive(Debug)]
pub struct Changes {
    common: CommonArgs,
    in_force: Table,
    /// What was in force before the latest change.
    former: Table,
    refused: Option<Refused>,
    /// What was said of settings that are wrong.
    said: String,
}

/// A change that could not be followed.
#[derive(Debug)]
struct Refused {
    settings: Table,
    pause: Duration,
    until: Instant,
}

impl Changes {
    /// Follows what these were loaded from.
    pub fn new(common: &CommonArgs, loaded: &Loaded) -> Self {
        let in_force = loaded.merged().clone();
        Self { common: common.clone(), former: in_force.clone(), in_force, refused: None, said: String::new() }
    }

    /// Waits for other settings that are valid. They count as taken unless [`Self::refuse`] says otherwise.
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

    /// Says that the latest change could not be followed: what was in force before stays, and the change comes again.
    pub fn refuse(&mut self, error: &anyhow::Error) {
        let settings = std::mem::replace(&mut self.in_force, self.former.clone());
        let (shortest, longest) = AGAIN_AFTER;
        let pause = self.refused.take().map_or(shortest, |before| longest.min(2 * before.pause));
        say_refused(&format!("{error:#}; tried again in {} s", pause.as_secs()));
        self.refused = Some(Refused { settings, pause, until: Instant::now() + pause });
    }

    /// Reads the settings once. Each change is said once.
    fn look(&mut self) -> Option<Change> {
        let loaded = match self.common.load() {
            Ok(loaded) => loaded,
            Err(error) => {
                let sentences = error.to_string();
                if self.said != sentences {
                    say_refused(&sentences);
                    self.said = sentences;
                }
                return None;
            }
        };
        self.said.clear();
        let latest = loaded.merged();
        let names = differences(&self.in_force, latest);
        match &self.refused {
            Some(refused) if !names.is_empty() && refused.settings == *latest => {
                if refused.until > Instant::now() {
                    return None;
                }
            }
            _ => {
                self.refused = None;
                say_changed(&names);
            }
        }
        if names.is_empty() {
            return None;
        }
        self.former = std::mem::replace(&mut self.in_force, latest.clone());
        Some(Change { settings: Arc::new(loaded.settings), names })
    }
}

fn say_changed(names: &[String]) {
    if names.is_empty() {
        return;
    }
    tracing::info!(settings = names.join(", "), "settings have changed");
    if names.iter().any(|name| name.ends_with("] listen") || name.starts_with("[log]") || name.starts_with("[trace]")) {
        tracing::warn!(
            "an address to listen on, how logs are written and where traces go change when the process starts again"
        );
    }
}

fn say_refused(sentences: &str) {
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
        assert!(changes.said.contains("[queue] max_attempts"), "{}", changes.said);
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

    #[tokio::test(start_paused = true)]
    async fn a_refused_change_comes_again_later_and_later_and_others_are_named_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gharvest.toml");
        let write = |text: &str| fs::write(&file, text).unwrap();
        write("");
        let common = CommonArgs { config: Some(file.clone()), data_dir: Some(folder.path().to_owned()), log: None };
        let mut changes = Changes::new(&common, &common.load().unwrap());
        let error = anyhow::anyhow!("Redis is away");
        write("[queue]\nnamespace = \"other\"");
        let mut waited = Vec::new();
        for _ in 0..8 {
            let begun = Instant::now();
            assert_eq!(changes.next().await.names, ["[queue] namespace"]);
            waited.push(begun.elapsed().as_secs());
            changes.refuse(&error);
        }
        assert_eq!(waited, [0, 10, 20, 40, 80, 160, 300, 300]);

        // What was refused is still to be done, whatever else has changed since, and at once.
        write("[queue]\nnamespace = \"other\"\n[webhook]\nsecrets = [\"new\"]");
        let begun = Instant::now();
        assert_eq!(changes.next().await.names, ["[queue] namespace", "[webhook] secrets"]);
        assert!(begun.elapsed() < 2 * EVERY);
        assert!(changes.look().is_none(), "it is taken");

        write("[webhook]\nsecrets = [\"new\"]");
        assert_eq!(changes.next().await.names, ["[queue] namespace"]);
        changes.refuse(&error);
        write("[queue]\nnamespace = \"other\"\n[webhook]\nsecrets = [\"new\"]");
        assert!(changes.look().is_none() && changes.refused.is_none(), "as it was before nothing is left to try");
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
