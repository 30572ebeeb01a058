use super::*;

const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(10) };

#[test]
fn waits_double_up_to_the_limit_and_jitter_takes_at_most_half() {
    for (attempt, whole) in
        [(0, 1), (1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (40, 10), (u32::MAX, 10)]
    {
        let whole = Duration::from_secs(whole);
        for _ in 0..50 {
            let wait = BACKOFF.after(attempt, RunId::generate());
            assert!(wait <= whole && wait >= whole / 2, "attempt {attempt}: {wait:?} of {whole:?}");
        }
    }
}

#[test]
fn the_same_attempt_of_the_same_run_waits_equally_long() {
    let run = RunId::generate();
    assert_eq!(BACKOFF.after(3, run), BACKOFF.after(3, run));
}

#[test]
fn runs_that_failed_together_come_back_apart() {
    let waits: std::collections::BTreeSet<Duration> =
        (0..100).map(|_| BACKOFF.after(1, RunId::generate())).collect();
    assert!(waits.len() > 90, "{} different waits of 100 runs", waits.len());
}
