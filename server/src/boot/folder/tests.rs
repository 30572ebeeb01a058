use super::*;

fn files(fingerprint: u64) -> State {
    State::Files { fingerprint, files: Vec::new() }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

#[test]
fn a_folder_is_applied_at_first_and_whenever_it_changed() {
    let mut memory = Memory::default();
    assert_eq!(memory.decide(&files(1), at(0)), Decision::Apply);
    memory.tried(Applied::Well, at(0));
    assert_eq!(memory.decide(&files(1), at(1)), Decision::Rest);
    assert_eq!(memory.decide(&files(2), at(2)), Decision::Apply);
    memory.tried(Applied::Well, at(2));
    assert_eq!(memory.decide(&files(2), at(1_000)), Decision::Rest);
}

#[test]
fn what_failed_is_tried_again_when_it_changed_or_after_a_while() {
    let mut memory = Memory::default();
    memory.decide(&files(1), at(0));
    memory.tried(Applied::Badly, at(0));
    assert_eq!(memory.decide(&files(1), at(2)), Decision::Rest);
    assert_eq!(memory.decide(&files(2), at(4)), Decision::Apply);
    memory.tried(Applied::Badly, at(4));
    assert_eq!(memory.decide(&files(2), at(30)), Decision::Rest);
    assert_eq!(memory.decide(&files(2), at(64)), Decision::Apply);
    memory.tried(Applied::Well, at(64));
    assert_eq!(memory.decide(&files(2), at(1_000)), Decision::Rest);
}

#[test]
fn an_unreadable_folder_is_complained_about_once() {
    let mut memory = Memory::default();
    let gone = State::Unreadable("gone".to_owned());
    assert_eq!(memory.decide(&gone, at(0)), Decision::Complain);
    assert_eq!(memory.decide(&gone, at(2)), Decision::Rest);
    assert_eq!(memory.decide(&files(1), at(4)), Decision::Apply);
    assert_eq!(memory.decide(&gone, at(6)), Decision::Complain);
}

#[test]
fn fingerprints_see_names_and_texts() {
    let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
    let one = fingerprint(&[file("a.sql", "x")]);
    assert_eq!(one, fingerprint(&[file("a.sql", "x")]));
    assert_ne!(one, fingerprint(&[file("b.sql", "x")]));
    assert_ne!(one, fingerprint(&[file("a.sql", "y")]));
    assert_ne!(one, fingerprint(&[]));
}
