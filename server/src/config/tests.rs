use std::{path::Path, time::Duration};

use model::profile::Profile;

use super::{key::nearest, machine, quantity::parse_size, redact::is_secret, *};

const MACHINE: Machine = Machine { memory: 8 << 30, cores: 2 };

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load(file: &str, variables: &[(&str, &str)], flags: &[Flag]) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.toml");
    std::fs::write(&path, file).unwrap();
    Config::load(Some(&path), &environment(variables), flags, MACHINE)
}

fn flag(path: &'static str, flag: &'static str, value: &str) -> Flag {
    Flag { path, flag, value: value.to_owned() }
}

#[test]
fn defaults_follow_the_data_folder_and_the_machine() {
    let config = load("data_dir = '/d'", &[], &[]).unwrap();
    assert_eq!(config.server.flight_addr, "127.0.0.1:32010");
    assert_eq!(config.catalog.url, "sqlite:/d/catalog.sqlite");
    assert_eq!(config.lake.url, "/d/lake");
    assert_eq!(config.query.spill_dir, Path::new("/d/spill"));
    assert_eq!(config.query.memory_max, 4 << 30);
    assert_eq!(config.query.target_partitions, 2);
    assert_eq!(config.query.statement_timeout, None);
    assert_eq!(config.refresh.transforms, None);
    assert!(config.is_default("log.level"));
    assert!(!config.is_default("data_dir"));
}

#[test]
fn later_layers_win() {
    let file = "[server]\nflight_addr = 'file:1'\nhandle_ttl = '5m'\nhandles_max = 7\n";
    let variables =
        [("WHIMBREL__SERVER__FLIGHT_ADDR", "env:2"), ("WHIMBREL__SERVER__HANDLE_TTL", "6m")];
    let flags = [flag("server.flight_addr", "--flight-addr", "flag:3")];
    let config = load(file, &variables, &flags).unwrap();
    assert_eq!(config.server.flight_addr, "flag:3");
    assert_eq!(config.server.handle_ttl, Duration::from_secs(360));
    assert_eq!(config.server.handles_max, 7);
}

#[test]
fn every_kind_of_value_is_read_from_file_and_environment() {
    let file = "[query]\nmemory_max = '25%'\nspill_max = 1048576\nstatement_timeout = '90s'\n\
                [lake]\nlocations = ['/a', 's3://b/c']\n[lake.storage]\naws_region = 'x'\n\
                aws_allow_http = true\n[log]\nformat = 'JSON'\n";
    let config = load(file, &[], &[]).unwrap();
    assert_eq!(config.query.memory_max, 2 << 30);
    assert_eq!(config.query.spill_max, 1 << 20);
    assert_eq!(config.query.statement_timeout, Some(Duration::from_secs(90)));
    assert_eq!(config.lake.locations, ["/a", "s3://b/c"]);
    assert_eq!(config.lake.storage["aws_allow_http"], "true");
    assert_eq!(config.log.format, LogFormat::Json);

    let variables = [
        ("WHIMBREL__QUERY__CONCURRENCY", "9"),
        ("WHIMBREL__LAKE__LOCATIONS", "/a, /b"),
        ("WHIMBREL__LAKE__STORAGE__AWS_REGION", "from-setting"),
        ("AWS_REGION", "from-cloud"),
        ("GOOGLE_SERVICE_ACCOUNT", "/key.json"),
        ("AWS_PROFILE", "meant for others"),
    ];
    let config = load("", &variables, &[]).unwrap();
    assert_eq!(config.query.concurrency, 9);
    assert_eq!(config.lake.locations, ["/a", "/b"]);
    assert_eq!(config.lake.storage["aws_region"], "from-setting");
    assert_eq!(config.lake.storage["google_service_account"], "/key.json");
    assert_eq!(config.lake.storage.len(), 2);
}

#[test]
fn unknown_keys_name_the_nearest_and_their_origin() {
    let cases = [
        ("[server]\n\nflight_adr = 'a:1'", "server.flight_adr", "server.flight_addr", "w.toml:3"),
        ("flight_addr = 'a:1'", "flight_addr", "server.flight_addr", "w.toml:1"),
        ("[querry]\nmemory_max = '1GiB'", "querry.memory_max", "query.memory_max", "w.toml:2"),
        ("[lake]\nurl = 'x'\nstorage = 'y'", "lake.storage", "lake.storage", "w.toml:3"),
    ];
    for (file, key, nearest, origin) in cases {
        let error = load(file, &[], &[]).unwrap_err().to_string();
        assert!(error.contains(&format!("unknown key '{key}'")), "{error}");
        assert!(error.contains(&format!("'{nearest}'")), "{error}");
        assert!(error.contains(origin), "{error}");
    }
    let error = load("", &[("WHIMBREL__LOG__LEVL", "info")], &[]).unwrap_err().to_string();
    assert_eq!(
        error,
        "unknown key 'log.levl' (environment variable WHIMBREL__LOG__LEVL); \
         the nearest known key is 'log.level'"
    );
}

#[test]
fn wrong_values_say_what_is_expected_and_who_gave_them() {
    let cases = [
        ("server.flight_addr", "localhost", "write HOST:PORT"),
        ("server.shutdown_drain", "soon", "write for example 250ms, 30s"),
        ("server.handles_max", "0", "the least is 1"),
        ("query.memory_max", "150%", "write for example 50% or 4GiB"),
        ("query.spill_max", "many", "write for example 64MiB"),
        ("log.format", "xml", "none of text, json"),
        ("catalog.url", "", "found an empty text"),
    ];
    for (key, value, expected) in cases {
        let error = load("", &[], &[flag(key, "--it", value)]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{key} (flag --it): ")), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_certificate_without_its_key_is_refused() {
    let error = load("[server]\ntls_cert = 'c.pem'", &[], &[]).unwrap_err().to_string();
    assert!(error.contains("server.tls_key"), "{error}");
}

#[test]
fn settings_of_logins_that_cannot_go_together_are_refused() {
    let tls = "[server]\ntls_cert = 'c.pem'\ntls_key = 'k.pem'\n";
    let oidc = "[auth.oidc]\nissuer = 'https://w.example'\n";
    for (file, why) in [
        ("[server]\ntls_client_ca = 'ca.pem'".to_owned(), "server.tls_cert"),
        (format!("{tls}tls_client_auth = 'required'"), "server.tls_client_ca"),
        (format!("{tls}tls_client_auth = 'maybe'"), "optional, required"),
        (oidc.to_owned(), "auth.oidc.audience"),
        (oidc.replace("https", "http"), "https://"),
        (oidc.replace("//", "//user:pw@"), "no password"),
        (format!("{oidc}audience = ['w']\nroles = ['a']"), "GROUP=ROLE"),
        (format!("{oidc}audience = ['w']\nclock_skew = '1h'"), "at most 10m"),
        (format!("{oidc}audience = ['w']\nunknown_users = 'admit'"), "refuse, create"),
    ] {
        let error = load(&file, &[], &[]).unwrap_err().to_string();
        assert!(error.contains(why), "no {why} in {error}");
    }
    let file = format!("{oidc}audience = ['w']\nroles = ['a=b=c', ' x = y ']");
    let config = load(&file, &[], &[]).unwrap();
    let pair = |group: &str, role: &str| (group.to_owned(), role.to_owned());
    assert_eq!(config.auth.oidc.group_roles(), [pair("a=b", "c"), pair("x", "y")]);
    let again = load(&config.show(), &[], &[]).unwrap();
    assert_eq!(again.auth.oidc.roles, config.auth.oidc.roles);
}

#[test]
fn profiles_say_what_a_run_may_take() {
    let file = "[query]\nmemory_max = '4GiB'\n[refresh]\ntake_profiles = ['large', 'default']\n\
                [refresh.profiles.large]\nmemory = '25%'\npartitions = 8\nruns = 1\n\
                run_time = '2h'\n[refresh.profiles.small]\nmemory = '64MiB'\n";
    let variables = [("WHIMBREL__REFRESH__PROFILES__SMALL__RUNS", "3")];
    let config = load(file, &variables, &[]).unwrap();
    let profiles = config.refresh.profiles(config.query.memory_max).unwrap();
    let large = Profile {
        name: "large".to_owned(),
        memory_max: Some(1 << 30),
        partitions: Some(8),
        runs_max: Some(1),
        run_time_max: Some(Duration::from_secs(7200)),
    };
    assert_eq!(profiles.get("large"), Some(&large));
    let small =
        Profile { memory_max: Some(64 << 20), runs_max: Some(3), ..Profile::unlimited("small") };
    assert_eq!(profiles.get("small"), Some(&small));
    assert_eq!(profiles.get("default"), Some(&Profile::unlimited("default")));
    assert_eq!(config.refresh.take_profiles, ["large", "default"]);
    assert_eq!(
        load(&config.show(), &[], &[]).unwrap().show().lines().count(),
        config.show().lines().count()
    );
    let worker = [flag("refresh.take_profiles", "--profile", "small,large")];
    assert_eq!(load(file, &[], &worker).unwrap().refresh.take_profiles, ["small", "large"]);

    for (file, expected) in [
        ("[refresh]\ntake_profiles = ['lage']", "there is no profile 'lage'"),
        ("[refresh.profiles.a]\nmemmory = '1GiB'", "memmory"),
        ("[refresh.profiles.a]\nmemory = '0%'", "refresh.profiles.a.memory: '0%' is no share"),
        ("[refresh.profiles.a]\nmemory = 'much'", "refresh.profiles.a.memory: 'much' is no size"),
        ("[refresh.profiles.a]\nmemory = 0", "refresh.profiles.a.memory: a run needs some memory"),
        ("[refresh.profiles.a]\nruns = 0", "refresh.profiles.a.runs: '0' is no whole number"),
        ("[refresh.profiles.a]\nrun_time = '0s'", "refresh.profiles.a.run_time: leave it out"),
        ("[refresh.profiles.a]\nrun_time = 'soon'", "refresh.profiles.a.run_time: 'soon'"),
        ("[refresh.profiles]\na = 3", "the configuration does not fit together"),
    ] {
        let error = load(file, &[], &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{file}: {error}");
    }
}

#[test]
fn broken_files_name_the_line() {
    let error = load("[server]\nflight_addr = \n", &[], &[]).unwrap_err().to_string();
    assert!(error.contains("w.toml:2: "), "{error}");
    let error = load("[log]\nlevel='a'\nlevel='b'", &[], &[]).unwrap_err().to_string();
    assert!(error.contains("w.toml:3: "), "{error}");
    let missing = Config::load(Some(Path::new("/none.toml")), &environment(&[]), &[], MACHINE);
    assert!(missing.unwrap_err().to_string().contains("/none.toml"));
}

#[test]
fn shown_configuration_is_toml_without_secrets_and_reads_back() {
    let variables = [("AWS_SECRET_ACCESS_KEY", "S3CRET"), ("AWS_REGION", "eu")];
    let file = "data_dir = '/d'\n[catalog]\nurl = 'postgres://u:S3CRET@h/db?sslpassword=S3CRET'\n";
    let config = load(file, &variables, &[]).unwrap();
    let shown = config.show();
    assert!(!shown.contains("S3CRET"), "{shown}");
    assert!(shown.contains("url = \"postgres://u:***@h/db?sslpassword=***\"  # "), "{shown}");
    assert!(shown.contains("aws_secret_access_key = \"***\""), "{shown}");
    assert!(shown.contains("aws_region = \"eu\"  # environment variable AWS_REGION"), "{shown}");
    assert!(!format!("{config:?}").contains("S3CRET"));
    let again = load(&shown, &[], &[]).unwrap();
    assert_eq!(again.query.memory_max, config.query.memory_max);
    assert_eq!(again.server.shutdown_drain, config.server.shutdown_drain);
}

#[test]
fn passwords_in_urls_are_hidden() {
    let cases = [
        ("postgres://u:p@h/d", "postgres://u:***@h/d"),
        ("postgres://u:p@ss/w@h:5432/d", "postgres://u:***@h:5432/d"),
        ("postgres://u@h/d?password=p&x=1", "postgres://u@h/d?password=***&x=1"),
        ("az://c/p?sig=abc", "az://c/p?sig=***"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("sqlite:/d/catalog.sqlite", "sqlite:/d/catalog.sqlite"),
        ("plain", "plain"),
    ];
    for (url, hidden) in cases {
        assert_eq!(redact_url(url), hidden);
    }
}

#[test]
fn secrets_of_stores_are_known_by_their_names() {
    let secrets = [
        "aws_secret_access_key",
        "aws_session_token",
        "azure_storage_sas_token",
        "azure_storage_account_key",
        "google_application_credentials",
        "azure_storage_connection_string",
        "azure_client_secret",
    ];
    for name in secrets {
        assert!(is_secret(name), "{name}");
    }
    for name in ["aws_region", "aws_endpoint", "aws_allow_http", "azure_storage_account_name"] {
        assert!(!is_secret(name), "{name}");
    }
}

#[test]
fn durations_and_sizes_are_read_and_shown() {
    assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
    assert_eq!(parse_duration("250 ms"), Ok(Duration::from_millis(250)));
    assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
    for text in ["", "5", "-1s", "x", "1y"] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
    assert_eq!(parse_size("1.5GiB"), Ok(3 << 29));
    assert_eq!(parse_size("2kb"), Ok(2000));
    assert_eq!(parse_size("17"), Ok(17));
    assert!(parse_size("GiB").is_err());
    assert_eq!(format_size(3 << 30), "3GiB");
    assert_eq!(format_size(1500), "1.5KiB");
    assert_eq!(format_size(17), "17B");
}

#[test]
fn limits_of_the_machine_are_read() {
    assert_eq!(machine::memory_total("MemTotal:       1024 kB\nMemFree: 1 kB"), Some(1 << 20));
    assert_eq!(machine::group_limit("max\n"), None);
    assert_eq!(machine::group_limit("9223372036854771712"), None);
    assert_eq!(machine::group_limit("1073741824\n"), Some(1 << 30));
    assert_eq!(
        machine::group_folders("0::/a/b\n"),
        ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup"]
    );
    assert_eq!(machine::group_folders(""), ["/sys/fs/cgroup"]);
    let machine = Machine::detect();
    assert!(machine.memory > 0 && machine.cores > 0);
}

#[test]
fn addresses_of_this_machine_are_told_from_others() {
    let cases = [
        ("127.0.0.1:1", true),
        ("[::1]:1", true),
        ("localhost:1", true),
        ("0.0.0.0:1", false),
        ("[::]:1", false),
        ("db.example:1", false),
    ];
    for (address, loopback) in cases {
        let config =
            load("", &[], &[flag("server.flight_addr", "--flight-addr", address)]).unwrap();
        assert_eq!(config.server.exposed_addr().is_none(), loopback, "{address}");
    }
}

#[test]
fn history_lies_in_the_folder_for_state() {
    let home = environment(&[("HOME", "/h")]);
    assert_eq!(home.history_file().unwrap(), Path::new("/h/.local/state/whimbrel/history"));
    let state = environment(&[("HOME", "/h"), ("XDG_STATE_HOME", "/s")]);
    assert_eq!(state.history_file().unwrap(), Path::new("/s/whimbrel/history"));
    assert_eq!(environment(&[]).history_file(), None);
}

#[test]
fn every_key_has_a_usable_default_and_a_sentence() {
    let facts = Facts { data_dir: "/d".to_owned(), machine: MACHINE };
    for key in keys() {
        assert!(key.doc.ends_with('.'), "{}", key.path);
        if let Some(value) = (key.default)(&facts) {
            assert!(key.kind.normalise(&value, &facts).is_ok(), "{}", key.path);
        }
        assert_eq!(nearest(&keys(), key.path), key.path);
    }
}
