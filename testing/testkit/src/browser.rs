//! A real Chromium without a window, driven by chromedriver (WebDriver, and Chromium's own protocol where that says
//! more: the console, the network, colour schemes).
//!
//! Each [`Browser`] is a process of its own with an empty profile; it ends when it is dropped.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use fantoccini::{Client, ClientBuilder, elements::Element, wd::WebDriverCompatibleCommand};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{npm_package, skip};

pub use fantoccini::{Locator, key::Key};

/// How long the browser may take to start, and a page to show what is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The version of axe-core that pages are checked with.
const AXE: &str = "4.14.1";

/// How a browser is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Whether pages may run scripts.
    pub scripts: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { scripts: true }
    }
}

/// How a page is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Width of the window, in pixels.
    pub width: u32,
    /// Height of the window, in pixels.
    pub height: u32,
    /// Whether the system prefers dark colours.
    pub dark: bool,
}

/// A running browser with one window.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    client: Client,
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser. None, after saying that `test` is skipped, if Chromium or its driver is missing.
    ///
    /// # Panics
    /// If it is there and does not start.
    pub async fn start(test: &str, setup: Setup) -> Option<Self> {
        for (program, package) in [("chromium", "chromium"), ("chromedriver", "chromium-driver")] {
            if Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
                skip(test, &format!("no {program}: install Debian's package {package}"));
                return None;
            }
        }
        let profile = tempfile::tempdir().expect("a temporary folder");
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let port = port_of(driver.stdout.take().expect("standard output is a pipe"));
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities(&profile, setup));
        let client = builder.connect(&format!("http://127.0.0.1:{port}")).await.expect("the browser starts");
        let session = client.session_id().await.expect("a session that has just begun").expect("it has a name");
        Some(Self { driver, port, session, client, _profile: profile })
    }

    /// The window.
    pub fn window(&self) -> &Client {
        &self.client
    }

    /// Opens an address and waits until it is loaded.
    pub async fn open(&self, address: &str) {
        self.client.goto(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
    }

    /// The first element of a CSS selector, once it is there.
    pub async fn find(&self, selector: &str) -> Element {
        let found = self.client.wait().at_most(PATIENCE).every(Duration::from_millis(20));
        found.for_element(Locator::Css(selector)).await.unwrap_or_else(|error| panic!("{selector}: {error}"))
    }

    /// What an expression of JavaScript gives.
    pub async fn evaluate(&self, expression: &str) -> Value {
        let answer = self.client.execute(&format!("return ({expression});"), Vec::new()).await;
        answer.unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// Waits until an expression of JavaScript is true.
    ///
    /// # Panics
    /// If it is not within half a minute.
    pub async fn until(&self, expression: &str) {
        let begun = Instant::now();
        while self.evaluate(&format!("Boolean({expression})")).await != json!(true) {
            assert!(begun.elapsed() < PATIENCE, "not true: {expression}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Types into whatever has the focus.
    pub async fn press(&self, keys: &str) {
        let focused = self.client.active_element().await.expect("a page always has an active element");
        focused.send_keys(keys).await.unwrap_or_else(|error| panic!("{keys:?}: {error}"));
    }

    /// Sets size and colour scheme.
    pub async fn look(&self, look: Look) {
        let size = json!({"width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": false});
        self.ask_chromium("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = if look.dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.ask_chromium("Emulation.setEmulatedMedia", media).await;
    }

    /// A picture of what is seen, as PNG.
    pub async fn picture(&self) -> Vec<u8> {
        self.client.screenshot().await.expect("a window can be pictured")
    }

    /// What pages wrote to the console since this was last asked, warnings and errors: refusals of the content security
    /// policy among them.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.log("browser").await;
        entries.iter().filter_map(|entry| entry["message"].as_str()).map(str::to_owned).collect()
    }

    /// Addresses on the network that were requested since this was last asked; what the browser
    /// has in itself is left out.
    pub async fn requests(&self) -> BTreeSet<String> {
        let entries = self.log("performance").await;
        let messages = entries.iter().filter_map(|entry| serde_json::from_str(entry["message"].as_str()?).ok());
        let sent = messages.filter(|message: &Value| message["message"]["method"] == "Network.requestWillBeSent");
        let addresses =
            sent.filter_map(|message| Some(message["message"]["params"]["request"]["url"].as_str()?.to_owned()));
        addresses.filter(|address| !address.starts_with("chrome") && !address.starts_with("data:")).collect()
    }

    /// What axe finds wrong with the page, as `rule: selectors`. None, after saying that `test` is skipped, if axe cannot
    /// be fetched.
    pub async fn barriers(&self, test: &str) -> Option<Vec<String>> {
        let package = npm_package(test, "axe-core", AXE)?;
        let script = std::fs::read_to_string(package.join("axe.min.js")).expect("a file of the package");
        // The page's own policy allows no foreign script; the driver's is not the page's.
        self.client.execute(&script, Vec::new()).await.expect("axe loads");
        let run = "const done = arguments[arguments.length - 1]; axe.run(document, {runOnly: \
                   ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}).then(done, e => done({error: String(e)}));";
        let answer = self.client.execute_async(run, Vec::new()).await.expect("axe runs");
        let violations = answer["violations"].as_array().unwrap_or_else(|| panic!("axe failed: {answer}"));
        let told = |violation: &Value| {
            let nodes = violation["nodes"].as_array().into_iter().flatten().take(5);
            let places: Vec<String> =
                nodes.map(|node| format!("{} {}", node["target"], node["failureSummary"])).collect();
            format!("{}: {}", violation["id"], places.join("; "))
        };
        Some(violations.iter().map(told).collect())
    }

    /// A command of Chromium's own protocol.
    pub async fn ask_chromium(&self, command: &str, parameters: Value) -> Value {
        let body = json!({"cmd": command, "params": parameters});
        let asked = Vendor { path: "goog/cdp/execute", body };
        self.client.issue_cmd(asked).await.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    async fn log(&self, kind: &str) -> Vec<Value> {
        let asked = Vendor { path: "se/log", body: json!({"type": kind}) };
        let answer = self.client.issue_cmd(asked).await.expect("the driver keeps logs");
        answer.as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends the browser when the session ends; killed, it would leave it behind.
        let request =
            format!("DELETE /session/{} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n", self.session);
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            drop(stream.set_read_timeout(Some(Duration::from_secs(10))));
            drop(stream.write_all(request.as_bytes()));
            drop(stream.read(&mut [0; 64]));
        }
        drop(self.driver.kill());
        drop(self.driver.wait());
    }
}

fn capabilities(profile: &TempDir, setup: Setup) -> fantoccini::wd::Capabilities {
    let profile = format!("--user-data-dir={}", profile.path().display());
    // Without the flags about the network Chromium asks for hosts of its own.
    let arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        &profile,
    ];
    let blocked = if setup.scripts { 1 } else { 2 };
    let capabilities = json!({
        "goog:chromeOptions": {
            "args": arguments,
            "prefs": {"profile.managed_default_content_settings.javascript": blocked},
        },
        "goog:loggingPrefs": {"browser": "WARNING", "performance": "ALL"},
    });
    capabilities.as_object().cloned().unwrap_or_default()
}

/// The port that the driver says it listens on. The rest of what it says is read and forgotten, so that it never waits.
fn port_of(stdout: impl Read + Send + 'static) -> u16 {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let named = line.split_once("successfully on port ");
            let port = named.and_then(|(_, port)| port.trim_end_matches('.').parse().ok());
            if port.is_some_and(|port| sender.send(port).is_err()) {
                break;
            }
        }
    });
    receiver.recv_timeout(PATIENCE).expect("chromedriver says its port")
}

/// A command of the driver that WebDriver does not name.
#[derive(Debug)]
struct Vendor {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Vendor {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}
