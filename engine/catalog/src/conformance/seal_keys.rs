//! Keys with which servers seal what they give to clients.

use std::time::Duration;

use model::secret::Secret;

use super::{
    fixture::{C, at},
    suite,
};
use crate::seal_keys::SealKey;

suite![
    the_first_who_asks_makes_the_key_and_all_have_it,
    an_old_key_is_replaced_and_kept_once_more,
    a_key_from_a_clock_that_is_ahead_is_no_old_key,
    of_many_who_ask_at_once_one_makes_the_key,
];

const WEEK: Duration = Duration::from_secs(7 * 86_400);

async fn keys(catalog: &C, fresh: &str, seconds: i64) -> Vec<SealKey> {
    catalog.seal_keys(&Secret::new(fresh), WEEK, at(seconds)).await.unwrap()
}

fn key(number: i64, secret: &str, seconds: i64) -> SealKey {
    SealKey { number, secret: Secret::new(secret), made_at: at(seconds) }
}

async fn the_first_who_asks_makes_the_key_and_all_have_it(catalog: C) {
    assert_eq!(keys(&catalog, "one", 5).await, [key(1, "one", 5)]);
    assert_eq!(keys(&catalog, "two", 604_804).await, [key(1, "one", 5)]);
}

async fn an_old_key_is_replaced_and_kept_once_more(catalog: C) {
    let week = 604_800;
    keys(&catalog, "one", 0).await;
    let second = [key(2, "two", week), key(1, "one", 0)];
    assert_eq!(keys(&catalog, "two", week).await, second);
    assert_eq!(keys(&catalog, "three", 2 * week - 1).await, second);
    let third = [key(3, "four", 2 * week), key(2, "two", week)];
    assert_eq!(keys(&catalog, "four", 2 * week).await, third);
}

async fn a_key_from_a_clock_that_is_ahead_is_no_old_key(catalog: C) {
    keys(&catalog, "one", 31_536_000).await;
    assert_eq!(keys(&catalog, "two", 0).await, [key(1, "one", 31_536_000)]);
}

async fn of_many_who_ask_at_once_one_makes_the_key(catalog: C) {
    for round in 0..4 {
        let asking: Vec<_> = (0..8)
            .map(|n| {
                let catalog = C::clone(&catalog);
                let fresh = format!("{round} {n}");
                tokio::spawn(async move { keys(&catalog, &fresh, round * 604_800).await })
            })
            .collect();
        let mut answers = Vec::new();
        for asked in asking {
            answers.push(asked.await.unwrap());
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(answers[0][0].number, round + 1);
    }
}
