//! What the auditor has found.

use model::id::ObjectId;

use super::{
    fixture::{C, at, name},
    suite,
};
use crate::verifications::{StoredVerification, Verdict, Verification};

suite![a_verification_comes_back_as_it_was, the_newest_of_each_verdict_stays];

fn found(object: ObjectId, verdict: Verdict, seconds: i64) -> Verification {
    Verification {
        object,
        name: name("a"),
        verdict,
        at: at(seconds),
        version: Some(3),
        rows: Some(10),
        rows_computed: Some(11),
        detail: Some("it's different".to_owned()),
    }
}

async fn a_verification_comes_back_as_it_was(catalog: C) {
    assert_eq!(catalog.verifications().await.unwrap(), []);
    let full = found(ObjectId::generate(), Verdict::Different, 5);
    let bare = Verification {
        verdict: Verdict::Failed,
        version: None,
        rows: None,
        rows_computed: None,
        detail: None,
        ..found(ObjectId::generate(), Verdict::Failed, 4)
    };
    for verification in [&full, &bare] {
        catalog.add_verification(verification).await.unwrap();
    }
    let stored = |last: Verification| StoredVerification { first_at: last.at, last, times: 1 };
    assert_eq!(catalog.verifications().await.unwrap(), [stored(full), stored(bare)]);
}

async fn the_newest_of_each_verdict_stays(catalog: C) {
    let object = ObjectId::generate();
    for (verdict, seconds) in
        [(Verdict::Equal, 1), (Verdict::Different, 2), (Verdict::Equal, 3), (Verdict::Equal, 4)]
    {
        catalog.add_verification(&found(object, verdict, seconds)).await.unwrap();
    }
    let stored = catalog.verifications().await.unwrap();
    let seen: Vec<_> =
        stored.iter().map(|s| (s.last.verdict, s.first_at, s.last.at, s.times)).collect();
    assert_eq!(seen, [(Verdict::Equal, at(1), at(4), 3), (Verdict::Different, at(2), at(2), 1)]);
}
