//! Reading settings: compiled-in defaults, then the file, then the environment; unknown names are errors.
//!
//! The defaults are the schema as well: a name that does not stand in `default.toml` does not exist, and the type of
//! its default is its type. So the commented file cannot fall behind the code.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use crate::settings::Settings;

const DEFAULTS: &str = include_str!("default.toml");

/// Paths of fields that are never shown.
const SECRETS: &[&str] = &[
    "github.tokens",
    "github.app_private_key",
    "webhook.secrets",
    "webhook.secrets_of",
    "search.password",
    "search.api_key",
    "notify.url",
    "notify.ping_url",
];

/// Variables of ours that are no settings.
const OTHER_VARIABLES: &[&str] =
    &["GHARVEST_CONFIG", "GHARVEST_DATA_DIR", "GHARVEST_LOG", "GHARVEST_SERVER", "GHARVEST_KEY"];

/// Why settings cannot be used: each sentence names the setting and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{}", .problems.join("\n"))]
pub struct SettingsError {
    /// All problems found, not only the first.
    pub problems: Vec<String>,
}

/// Settings as read, and what a person should hear about them.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Unknown variables that are probably not meant for us.
    pub warnings: Vec<String>,
    merged: Table,
}

/// Where settings come from.
#[derive(Debug, Default)]
pub struct Sources {
    /// `--config FILE`; none for `gharvest.toml` in the data folder, if there is one.
    pub config: Option<PathBuf>,
    /// `--data-dir FOLDER`; none for the platform's data folder.
    pub data_dir: Option<PathBuf>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
}

impl Sources {
    /// The environment of this process.
    pub fn with_process_environment(config: Option<PathBuf>, data_dir: Option<PathBuf>) -> Self {
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self { config, data_dir, environment: environment.collect() }
    }

    /// Reads, merges and checks everything.
    pub fn load(self) -> Result<Loaded, SettingsError> {
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        let schema: Table = DEFAULTS.parse().expect("default.toml is valid: a test reads it");
        let mut merged = schema.clone();
        let data_dir = self.data_dir.clone().or_else(platform_data_dir);
        let Some(data_dir) = data_dir else {
            problems.push("no data folder: this platform has none by default; give one with --data-dir".to_owned());
            return Err(SettingsError { problems });
        };
        if let Some((path, text)) = self.config_text(&data_dir, &mut problems) {
            merge_file(&mut merged, &schema, &path, &text, &mut problems);
        }
        self.merge_environment(&mut merged, &schema, &mut problems, &mut warnings);
        let settings = if problems.is_empty() { decode(&merged, data_dir, &mut problems) } else { None };
        match settings {
            Some(settings) => Ok(Loaded { settings, warnings, merged }),
            None => Err(SettingsError { problems }),
        }
    }

    fn config_text(&self, data_dir: &Path, problems: &mut Vec<String>) -> Option<(PathBuf, String)> {
        let (path, must_exist) = match &self.config {
            Some(path) => (path.clone(), true),
            None => (data_dir.join("gharvest.toml"), false),
        };
        match fs::read_to_string(&path) {
            Ok(text) => Some((path, text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => None,
            Err(error) => {
                problems.push(format!("settings file `{}` cannot be read: {error}", path.display()));
                None
            }
        }
    }

    fn merge_environment(
        &self,
        merged: &mut Table,
        schema: &Table,
        problems: &mut Vec<String>,
        warnings: &mut Vec<String>,
    ) {
        let known = variables(schema);
        for (name, value) in &self.environment {
            let (base, from_file) = match name.strip_suffix("_FILE") {
                Some(base) if base == "GITHUB_TOKEN" || known.contains_key(base) => (base, true),
                _ => (name.as_str(), false),
            };
            let path = match known.get(base) {
                Some(path) => path.clone(),
                None if base == "GITHUB_TOKEN" && !self.environment.contains_key("GHARVEST_GITHUB__TOKENS") => {
                    ("github".to_owned(), "tokens".to_owned())
                }
                None => {
                    self.unknown_variable(name, &known, problems, warnings);
                    continue;
                }
            };
            let text = if from_file { read_secret(name, value, problems) } else { Some(value.clone()) };
            let Some(text) = text else { continue };
            if base == "GITHUB_TOKEN" && text.trim().is_empty() {
                continue;
            }
            let slot = &mut merged[&path.0][&path.1];
            match typed(&text, slot) {
                Ok(typed) => *slot = typed,
                Err(expected) => problems.push(format!("variable {name}: {expected}")),
            }
        }
    }

    fn unknown_variable(
        &self,
        name: &str,
        known: &BTreeMap<String, (String, String)>,
        problems: &mut Vec<String>,
        warnings: &mut Vec<String>,
    ) {
        let Some(rest) = name.strip_prefix("GHARVEST_") else { return };
        if OTHER_VARIABLES.contains(&name) || rest.starts_with("TEST_") {
            return;
        }
        let sentence = format!("variable {name} is no setting{}", nearest(name, known.keys().map(String::as_str)));
        if rest.contains("__") { problems.push(sentence) } else { warnings.push(sentence) }
    }
}

impl Loaded {
    /// All settings as text, secrets included.
    pub(crate) fn merged(&self) -> &Table {
        &self.merged
    }

    /// All settings in force as TOML, secrets left out: for `gharvest settings` and the start of every log.
    pub fn redacted(&self) -> String {
        let mut table = self.merged.clone();
        for path in SECRETS {
            let (section, field) = path.split_once('.').expect("paths have a section");
            redact(&mut table[section][field]);
        }
        for (_, section) in &mut table {
            for (_, value) in section.as_table_mut().into_iter().flatten() {
                if let Value::String(text) = value {
                    *text = without_password(text);
                }
            }
        }
        toml::to_string(&table).expect("what was read from TOML can be written as TOML")
    }
}

/// Replaces the password of an address by `***`.
pub fn without_password(text: &str) -> String {
    let Ok(mut url) = url::Url::parse(text) else { return text.to_owned() };
    if url.password().is_some() && url.set_password(Some("***")).is_ok() { url.to_string() } else { text.to_owned() }
}

fn redact(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(redact),
        Value::String(text) if !text.is_empty() => *text = "***".to_owned(),
        _ => {}
    }
}

fn platform_data_dir() -> Option<PathBuf> {
    Some(directories::ProjectDirs::from("", "", "gharvest")?.data_dir().to_owned())
}

/// `GHARVEST_GITHUB__API_URL` → (`github`, `api_url`), for every field.
fn variables(schema: &Table) -> BTreeMap<String, (String, String)> {
    let mut known = BTreeMap::new();
    for (section, fields) in schema {
        for field in fields.as_table().into_iter().flat_map(Table::keys) {
            let name = format!("GHARVEST_{section}__{field}").to_ascii_uppercase();
            known.insert(name, (section.clone(), field.clone()));
        }
    }
    known
}

fn read_secret(name: &str, path: &str, problems: &mut Vec<String>) -> Option<String> {
    match fs::read_to_string(path) {
        Ok(text) => Some(text.trim().to_owned()),
        Err(error) => {
            problems.push(format!("variable {name}: file `{path}` cannot be read: {error}"));
            None
        }
    }
}

/// Reads a text as the type that the default has.
fn typed(text: &str, like: &Value) -> Result<Value, String> {
    let number = |_| format!("`{text}` is not a number");
    match like {
        Value::String(_) => Ok(Value::String(text.to_owned())),
        Value::Integer(_) => text.parse().map(Value::Integer).map_err(|_| number(())),
        Value::Float(_) => text.parse().map(Value::Float).map_err(|_| number(())),
        Value::Boolean(_) => {
            text.parse().map(Value::Boolean).map_err(|_| format!("`{text}` is neither true nor false"))
        }
        Value::Array(_) => {
            let values = text.split([',', '\n']).map(str::trim).filter(|value| !value.is_empty());
            Ok(Value::Array(values.map(|value| Value::String(value.to_owned())).collect()))
        }
        Value::Datetime(_) | Value::Table(_) => Err("cannot be set by a variable".to_owned()),
    }
}

fn merge_file(merged: &mut Table, schema: &Table, path: &Path, text: &str, problems: &mut Vec<String>) {
    let file: Table = match text.parse() {
        Ok(file) => file,
        Err(error) => return problems.push(format!("settings file `{}`: {error}", path.display())),
    };
    for (section, fields) in file {
        let Some(known) = schema.get(&section).and_then(Value::as_table) else {
            let hint = nearest(&section, schema.keys().map(String::as_str));
            problems.push(format!("settings file `{}`: [{section}] is no section{hint}", path.display()));
            continue;
        };
        let Value::Table(fields) = fields else {
            problems.push(format!("settings file `{}`: {section} is a section: write [{section}]", path.display()));
            continue;
        };
        for (field, value) in fields {
            match known.get(&field) {
                Some(default) if default.same_type(&value) => merged[&section][&field] = value,
                Some(Value::Float(_)) if value.is_integer() => {
                    merged[&section][&field] = Value::Float(value.as_integer().unwrap_or_default() as f64);
                }
                Some(default) => problems.push(format!(
                    "settings file `{}`: [{section}] {field}: expected {}, found {}",
                    path.display(),
                    default.type_str(),
                    value.type_str()
                )),
                None => {
                    let hint = nearest(&field, known.keys().map(String::as_str));
                    problems
                        .push(format!("settings file `{}`: [{section}] {field} is no setting{hint}", path.display()));
                }
            }
        }
    }
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let best = known.map(|known| (strsim::normalized_damerau_levenshtein(name, known), known));
    match best.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((score, known)) if score > 0.5 => format!("; did you mean {known}?"),
        _ => String::new(),
    }
}

fn decode(merged: &Table, data_dir: PathBuf, problems: &mut Vec<String>) -> Option<Settings> {
    match Settings::deserialize_table(merged.clone()) {
        Ok(mut settings) => {
            settings.data_dir = data_dir;
            problems.extend(settings.problems());
            problems.is_empty().then_some(settings)
        }
        Err(error) => {
            problems.push(format!("settings: {}", error.to_string().trim_end()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn load(file: &str, environment: &[(&str, &str)]) -> Result<Loaded, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("gharvest.toml");
        fs::write(&config, file).unwrap();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Sources { config: Some(config), data_dir: Some(folder.path().to_owned()), environment }.load()
    }

    fn problem(file: &str, environment: &[(&str, &str)]) -> String {
        load(file, environment).unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_valid() {
        let loaded = load("", &[]).unwrap();
        assert_eq!(loaded.settings.github.api_url, "https://api.github.com");
        assert!(loaded.warnings.is_empty());
    }

    #[test]
    fn the_environment_overrides_the_file_which_overrides_the_defaults() {
        let file = "[queue]\ninactivity_delay = \"7s\"\nmax_delay = \"90s\"";
        let loaded = load(file, &[("GHARVEST_QUEUE__MAX_DELAY", "2m"), ("GHARVEST_WEBHOOK__SECRETS", "a, b")]).unwrap();
        assert_eq!(loaded.settings.queue.inactivity_delay.as_secs(), 7);
        assert_eq!(loaded.settings.queue.max_delay.as_secs(), 120);
        let secrets: Vec<_> = loaded.settings.webhook.secrets.iter().map(|secret| secret.expose_secret()).collect();
        assert_eq!(secrets, ["a", "b"]);
    }

    #[test]
    fn unknown_names_are_errors_that_name_the_nearest_known_one() {
        assert!(problem("[github]\napi_ulr = \"x\"", &[]).contains("did you mean api_url?"));
        assert!(problem("[gihub]\napi_url = \"x\"", &[]).contains("did you mean github?"));
        let variable = problem("", &[("GHARVEST_GITHUB__API_ULR", "x")]);
        assert!(variable.contains("did you mean GHARVEST_GITHUB__API_URL?"), "{variable}");
    }

    #[test]
    fn unknown_variables_of_another_form_only_warn() {
        let loaded =
            load("", &[("GHARVEST_SERVICE_HOST", "10.0.0.1"), ("GHARVEST_DATA_DIR", "/x"), ("PATH", "/bin")]).unwrap();
        assert_eq!(loaded.warnings.len(), 1);
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let text = problem("[queue]\nmax_attempts = \"many\"\n[web]\nlisten = 5", &[("GHARVEST_INDEXER__BATCH", "x")]);
        assert_eq!(text.lines().count(), 3, "{text}");
    }

    #[test]
    fn secrets_come_from_files_and_are_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "canary-token\n").unwrap();
        let variables = [
            ("GITHUB_TOKEN_FILE", path.to_str().unwrap()),
            ("GHARVEST_SEARCH__PASSWORD", "canary-password"),
            ("GHARVEST_QUEUE__URL", "redis://user:canary-redis@localhost/0"),
        ];
        let loaded = load("", &variables).unwrap();
        assert_eq!(loaded.settings.github.tokens[0].expose_secret(), "canary-token");
        let shown = format!("{} {:?}", loaded.redacted(), loaded.settings.github);
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn secrets_of_somebody_are_checked_and_never_shown() {
        let loaded = load("", &[("GHARVEST_WEBHOOK__SECRETS_OF", "octo=first=1,octo/box=second")]).unwrap();
        assert_eq!(loaded.settings.webhook.secrets_of.len(), 2);
        assert!(!loaded.redacted().contains("first") && !loaded.redacted().contains("second"));
        for wrong in ["octo", "=secret", "octo=", "octo/=secret", "a/b/c=secret", "o cto=secret"] {
            let said = problem("", &[("GHARVEST_WEBHOOK__SECRETS_OF", wrong)]);
            assert!(said.contains("OWNER/NAME=SECRET") && !said.contains("=secret"), "{wrong}: {said}");
        }
    }

    #[test]
    fn trusted_proxies_are_addresses_and_networks() {
        let trusted = |text: &str| load("", &[("GHARVEST_WEB__TRUSTED_PROXIES", text)]);
        let settings = trusted("172.16.0.0/12, 203.0.113.7, fd00::/8, 0.0.0.0/0").unwrap().settings.web.trusted_proxies;
        for (at, address, is_in) in [
            (0, "172.16.0.1", true),
            (0, "172.31.255.255", true),
            (0, "::ffff:172.20.0.1", true),
            (0, "172.32.0.1", false),
            (0, "fd00::1", false),
            (1, "203.0.113.7", true),
            (1, "203.0.113.8", false),
            (2, "fdff::1", true),
            (2, "fe00::1", false),
            (3, "198.51.100.1", true),
        ] {
            assert_eq!(settings[at].contains(address.parse().unwrap()), is_in, "{at} {address}");
        }
        for wrong in ["nginx", "10.0.0.0/33", "10.0.0.0/x", "::/129", "/8"] {
            assert!(trusted(wrong).unwrap_err().to_string().contains("[web] trusted_proxies"), "{wrong}");
        }
    }

    #[test]
    fn twins_are_two_repositories_and_their_placeholders_have_titles() {
        let titles = "twin_titles = [\"Wait, please.\"]";
        let twins =
            load(&format!("[downloader]\n{titles}\ntwins = [\"a/b=a/c\"]"), &[]).unwrap().settings.downloader.twins;
        assert_eq!((twins[0].public.key(), twins[0].private.key()), ("a/b".to_owned(), "a/c".to_owned()));
        assert!(problem("[downloader]\ntwins = [\"a/b=a/c\"]", &[]).contains("twin_titles"));
        for wrong in ["a/b", "a/b=", "a/b=c", "a/b=A/B"] {
            let said = problem(&format!("[downloader]\n{titles}"), &[("GHARVEST_DOWNLOADER__TWINS", wrong)]);
            assert!(said.contains("[downloader] twins"), "{wrong}: {said}");
        }
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let text = problem("[queue]\ninactivity_delay = \"5m\"\nmax_delay = \"1m\"", &[]);
        assert!(text.contains("max_delay"), "{text}");
        assert!(problem("[github]\nconcurrency = 0", &[]).contains("concurrency"));
        assert!(problem("[search]\nurl = \"ftp://x\"", &[]).contains("tantivy:"));
    }

    #[test]
    fn a_missing_file_is_an_error_only_when_it_was_named() {
        let folder = tempfile::tempdir().unwrap();
        let none = Sources { data_dir: Some(folder.path().to_owned()), ..Sources::default() };
        assert!(none.load().is_ok());
        let named = Sources {
            config: Some(folder.path().join("no.toml")),
            data_dir: Some(folder.path().to_owned()),
            ..Sources::default()
        };
        assert!(named.load().unwrap_err().to_string().contains("no.toml"));
    }
}
