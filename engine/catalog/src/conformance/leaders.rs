//! Leases of roles.

use model::id::WorkerId;

use super::{
    fixture::{C, at},
    suite,
};
use crate::leaders::{Bid, Leader, Sign};

suite![
    a_role_that_nobody_has_is_taken,
    the_leader_renews_and_others_are_told_who_it_is,
    a_leader_that_has_shown_no_sign_is_replaced,
    a_leader_that_has_shown_one_meanwhile_is_not,
    a_role_that_was_given_back_is_taken_at_once,
    nobody_gives_back_the_role_of_another,
    the_clocks_of_bidders_decide_nothing,
    roles_have_leaders_of_their_own,
    of_many_bids_at_once_one_wins,
];

async fn bid(catalog: &C, worker: WorkerId, silent_since: Option<Sign>, seconds: i64) -> Leader {
    let bid = Bid { role: "scheduler".to_owned(), worker, silent_since };
    catalog.lead(&bid, at(seconds)).await.unwrap()
}

async fn a_role_that_nobody_has_is_taken(catalog: C) {
    assert_eq!(catalog.leaders().await.unwrap(), []);
    let a = WorkerId::generate();
    let leader = bid(&catalog, a, None, 5).await;
    let sign = Sign { epoch: 1, renewals: 0 };
    let role = "scheduler".to_owned();
    let expected = Leader { role, worker: Some(a), sign, since: at(5), renewed_at: at(5) };
    assert_eq!(leader, expected);
    assert_eq!(catalog.leaders().await.unwrap(), [expected]);
}

async fn the_leader_renews_and_others_are_told_who_it_is(catalog: C) {
    let (a, b) = (WorkerId::generate(), WorkerId::generate());
    bid(&catalog, a, None, 0).await;
    let told = bid(&catalog, b, None, 1).await;
    assert_eq!((told.worker, told.sign), (Some(a), Sign { epoch: 1, renewals: 0 }));
    let renewed = bid(&catalog, a, None, 2).await;
    assert_eq!((renewed.worker, renewed.sign), (Some(a), Sign { epoch: 1, renewals: 1 }));
    assert_eq!((renewed.since, renewed.renewed_at), (at(0), at(2)));
}

async fn a_leader_that_has_shown_no_sign_is_replaced(catalog: C) {
    let (a, b) = (WorkerId::generate(), WorkerId::generate());
    let seen = bid(&catalog, a, None, 0).await.sign;
    let now = bid(&catalog, b, Some(seen), 30).await;
    assert_eq!((now.worker, now.sign), (Some(b), Sign { epoch: 2, renewals: 0 }));
    let told = bid(&catalog, a, None, 31).await;
    assert_eq!((told.worker, told.sign), (Some(b), now.sign), "the one before is told");
}

async fn a_leader_that_has_shown_one_meanwhile_is_not(catalog: C) {
    let (a, b) = (WorkerId::generate(), WorkerId::generate());
    let seen = bid(&catalog, a, None, 0).await.sign;
    bid(&catalog, a, None, 29).await;
    assert_eq!(bid(&catalog, b, Some(seen), 30).await.worker, Some(a));
}

async fn a_role_that_was_given_back_is_taken_at_once(catalog: C) {
    let (a, b) = (WorkerId::generate(), WorkerId::generate());
    bid(&catalog, a, None, 0).await;
    catalog.resign("scheduler", a).await.unwrap();
    assert_eq!(catalog.leaders().await.unwrap()[0].worker, None);
    let now = bid(&catalog, b, None, 1).await;
    assert_eq!((now.worker, now.sign.epoch), (Some(b), 2));
}

async fn nobody_gives_back_the_role_of_another(catalog: C) {
    let (a, b) = (WorkerId::generate(), WorkerId::generate());
    bid(&catalog, a, None, 0).await;
    catalog.resign("scheduler", b).await.unwrap();
    catalog.resign("nothing", a).await.unwrap();
    assert_eq!(bid(&catalog, b, None, 1).await.worker, Some(a));
}

async fn the_clocks_of_bidders_decide_nothing(catalog: C) {
    let (a, b) = (WorkerId::generate(), WorkerId::generate());
    // One whose clock is a year ahead leads no longer for that.
    let seen = bid(&catalog, a, None, 31_536_000).await.sign;
    assert_eq!(bid(&catalog, b, Some(seen), 0).await.worker, Some(b));
    // And one whose clock is behind is not taken for silent.
    let renewed = bid(&catalog, b, None, -31_536_000).await;
    assert_eq!(bid(&catalog, a, Some(seen), 60).await.sign, renewed.sign);
}

async fn roles_have_leaders_of_their_own(catalog: C) {
    let (a, b) = (WorkerId::generate(), WorkerId::generate());
    bid(&catalog, a, None, 0).await;
    let other = Bid { role: "auditor".to_owned(), worker: b, silent_since: None };
    assert_eq!(catalog.lead(&other, at(0)).await.unwrap().worker, Some(b));
    let roles: Vec<_> = catalog.leaders().await.unwrap().into_iter().map(|l| l.role).collect();
    assert_eq!(roles, ["auditor", "scheduler"]);
}

async fn of_many_bids_at_once_one_wins(catalog: C) {
    let mut silent = None;
    for round in 1..5 {
        let bids: Vec<_> = (0..8)
            .map(|_| {
                let catalog = C::clone(&catalog);
                let worker = WorkerId::generate();
                tokio::spawn(async move { (worker, bid(&catalog, worker, silent, round).await) })
            })
            .collect();
        let mut winners = Vec::new();
        for bid in bids {
            let (worker, leader) = bid.await.unwrap();
            assert_eq!(leader.sign.epoch, round);
            if leader.worker == Some(worker) {
                winners.push(worker);
            }
            silent = Some(leader.sign);
        }
        assert_eq!(winners.len(), 1);
    }
}
