use std::path::Path;

use clap::{CommandFactory, error::ErrorKind};

use super::*;

/// `WHIMBREL_BLESS=1 cargo test -p whimbrel help` writes the files anew.
#[test]
fn help_texts_are_those_in_the_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/help");
    let bless = std::env::var_os("WHIMBREL_BLESS").is_some();
    let mut texts = Vec::new();
    collect(Cli::command().bin_name("whimbrel"), "whimbrel".to_owned(), &mut texts);
    for (name, text) in &texts {
        let file = folder.join(format!("{name}.txt"));
        if bless {
            std::fs::write(&file, text).unwrap();
        }
        let known = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(&known, text, "{} differs; WHIMBREL_BLESS=1 writes it anew", file.display());
    }
    let known = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(known, texts.len(), "help/ holds a file of a command that is gone");
}

fn collect(mut command: clap::Command, name: String, texts: &mut Vec<(String, String)>) {
    command.build();
    let subcommands: Vec<clap::Command> =
        command.get_subcommands().filter(|sub| sub.get_name() != "help").cloned().collect();
    texts.push((name.clone(), command.render_long_help().to_string()));
    for sub in subcommands {
        let sub_name = format!("{name}-{}", sub.get_name());
        collect(sub, sub_name, texts);
    }
}

#[test]
fn the_words_that_scripts_rely_on_are_understood() {
    let lines = [
        "whimbrel serve --data-dir d --flight-addr 127.0.0.1:0 --catalog sqlite::memory: --lake l --transforms t",
        "whimbrel demo --data-dir d --flight-addr 127.0.0.1:0 --exit",
        "whimbrel user add ada --password-stdin --data-dir d",
        "whimbrel user add ada --password-stdin --catalog postgres://h/d",
        "whimbrel sql --url grpc://h:1 -c select --format csv",
        "whimbrel sql -f x.sql --format arrow --user ada --password-stdin",
        "whimbrel plan dir --url grpc://h:1",
        "whimbrel apply dir --url grpc://h:1",
        "whimbrel config show --config x.toml",
        "whimbrel config check",
        "whimbrel healthcheck --url grpc://h:1",
    ];
    for line in lines {
        Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn wrong_use_has_exit_code_2() {
    for line in ["whimbrel", "whimbrel fly", "whimbrel serve --port 1", "whimbrel sql --format xml"]
    {
        let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
    }
    let version = Cli::try_parse_from(["whimbrel", "--version"]).unwrap_err();
    assert_eq!(version.kind(), ErrorKind::DisplayVersion);
    let text = version.to_string();
    assert!(text.contains("DataFusion 55.") && text.contains("deltalake 1."), "{text}");
}
