//! Any text: an answer without a panic, an error that points into the text, and a statement whose
//! printed form means the same.

#![no_main]

use dialect::{parse, parse_script, without_secrets, written};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = without_secrets(text);
    match parse(text) {
        Ok(statement) => {
            let Some(printed) = written(&statement) else { return };
            match parse(&printed) {
                Ok(again) => assert_eq!(written(&again).as_deref(), Some(&*printed)),
                Err(error) => panic!("{printed:?} is printed and not read: {error}"),
            }
        }
        Err(error) => {
            let lines = text.lines().count().max(1) as u64;
            assert!(error.line <= lines + 1, "line {} of {lines}: {error}", error.line);
        }
    }
    let _ = parse_script(text);
});
