//! Settings: where they come from, and what is refused.

use std::{fs, process::Output};

use whimbrel_tests::process::Options;

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let options = Options::new();
    fs::write(options.folder().join("whimbrel.toml"), "[query]\nmemory_mx = \"1GiB\"\n").unwrap();
    let ended = options.try_start().expect_err("the key does not exist");
    assert!(!ended.status.success());
    for told in ["query.memory_mx", "query.memory_max", "whimbrel.toml"] {
        assert!(ended.log.contains(told), "no {told} in {}", ended.log);
    }
    let options = Options::new().env("WHIMBREL__SERVER__FLIGT_ADDR", "127.0.0.1:0");
    let ended = options.try_start().expect_err("the key does not exist");
    assert!(ended.log.contains("server.flight_addr"), "{}", ended.log);
}

#[test]
fn a_wrong_value_is_refused_with_its_key() {
    for (name, value, key) in [
        ("WHIMBREL__QUERY__MEMORY_MAX", "much", "query.memory_max"),
        ("WHIMBREL__REFRESH__WORKERS", "0", "refresh.workers"),
        ("WHIMBREL__LOG__FORMAT", "xml", "log.format"),
        ("WHIMBREL__CATALOG__URL", "mysql://localhost/x", "catalog.url"),
    ] {
        let ended = Options::new().env(name, value).try_start().expect_err(name);
        assert!(!ended.status.success());
        assert!(ended.log.contains(key), "no {key} in {}", ended.log);
    }
}

#[test]
fn the_configuration_is_shown_with_the_last_word_of_each_and_without_secrets() {
    let options = Options::new()
        .env("WHIMBREL__QUERY__CONCURRENCY", "7")
        .env("WHIMBREL__CATALOG__URL", "postgres://ann:verysecret@127.0.0.1/x")
        .env("AWS_SECRET_ACCESS_KEY", "alsosecret");
    fs::write(
        options.folder().join("whimbrel.toml"),
        "[query]\nconcurrency = 5\nqueue_max = 9\n[lake.storage]\naws_access_key_id = \"thirdsecret\"\n",
    )
    .unwrap();
    let shown = stdout(&options.run(&["config", "show"], ""));
    assert!(shown.contains("concurrency = 7"), "{shown}");
    assert!(shown.contains("queue_max = 9"), "{shown}");
    for secret in ["verysecret", "alsosecret"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn strangers_are_kept_out() {
    let ended = Options::new().arg("--flight-addr").arg("0.0.0.0:0").try_start();
    let ended = ended.expect_err("nobody has to log in and nothing is encrypted");
    assert!(!ended.status.success());
    for told in ["0.0.0.0", "user", "TLS"] {
        assert!(ended.log.contains(told), "no {told} in {}", ended.log);
    }
}

#[test]
fn a_lake_or_catalog_out_of_reach_is_said_at_the_start() {
    let ended = Options::new()
        .env("WHIMBREL__CATALOG__URL", "postgres://ann:verysecret@127.0.0.1:1/x")
        .try_start()
        .expect_err("nothing listens there");
    assert!(ended.log.contains("127.0.0.1:1"), "{}", ended.log);
    assert!(!ended.log.contains("verysecret"), "{}", ended.log);
    let file = Options::new();
    fs::write(file.folder().join("file"), "").unwrap();
    let lake = file.folder().join("file/lake");
    let ended = file.arg("--lake").arg(lake).try_start().expect_err("a file is no folder");
    assert!(ended.log.contains("lake"), "{}", ended.log);
}

#[test]
fn help_and_version_are_there() {
    let options = Options::new();
    let help = stdout(&options.run(&["--help"], ""));
    for command in ["serve", "demo", "sql", "plan", "apply", "user", "config"] {
        assert!(help.contains(command), "no {command} in {help}");
    }
    let serve = stdout(&options.run(&["serve", "--help"], ""));
    for flag in ["--data-dir", "--flight-addr", "--catalog", "--lake", "--transforms"] {
        assert!(serve.contains(flag), "no {flag} in {serve}");
    }
    assert!(stdout(&options.run(&["--version"], "")).contains("whimbrel"));
    let unknown = options.run(&["sreve"], "");
    assert!(!unknown.status.success());
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("serve"));
}
