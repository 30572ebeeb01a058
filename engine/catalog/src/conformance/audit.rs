//! The audit trail.

use std::time::Duration;

use model::audit::{AuditEvent, AuditOutcome, AuditRecord};

use super::{
    fixture::{C, at},
    suite,
};

suite![
    records_come_back_newest_first_and_whole,
    a_long_trail_is_read_in_pieces,
    one_principal_sees_its_own_records,
    old_records_and_too_many_go,
];

fn record(n: i64) -> AuditRecord {
    AuditRecord {
        at: at(n),
        principal: if n % 2 == 0 { "ada".to_owned() } else { "bob".to_owned() },
        client: None,
        event: AuditEvent::Query,
        outcome: AuditOutcome::Succeeded,
        query_id: None,
        statement: Some(format!("SELECT {n}")),
        rows: 1,
        duration: Duration::from_micros(7),
        error: None,
    }
}

async fn statements(catalog: &C, principal: Option<&str>, before: Option<i64>) -> Vec<String> {
    let records = catalog.audit(principal, before, 100).await.unwrap();
    records.into_iter().filter_map(|stored| stored.record.statement).collect()
}

async fn records_come_back_newest_first_and_whole(catalog: C) {
    let odd = AuditRecord {
        client: Some("flight [::1]:1".to_owned()),
        event: AuditEvent::Login,
        outcome: AuditOutcome::Denied,
        query_id: Some("q".to_owned()),
        statement: Some("SELECT 'it''s', \"ü\\\" -- {}\n\t€".to_owned()),
        rows: 1 << 40,
        error: Some("'x' may not".to_owned()),
        ..record(2)
    };
    catalog.append_audit(&[]).await.unwrap();
    catalog.append_audit(&[record(1), odd.clone()]).await.unwrap();
    let nul = AuditRecord { statement: Some("a\0b".to_owned()), ..record(3) };
    catalog.append_audit(&[nul]).await.unwrap();
    let stored = catalog.audit(None, None, 10).await.unwrap();
    let numbers: Vec<_> = stored.iter().map(|stored| stored.seq).collect();
    assert!(numbers.is_sorted_by(|a, b| a > b), "{numbers:?}");
    let records: Vec<_> = stored.into_iter().map(|stored| stored.record).collect();
    let replaced = AuditRecord { statement: Some("a\u{fffd}b".to_owned()), ..record(3) };
    assert_eq!(records, [replaced, odd, record(1)]);
}

async fn a_long_trail_is_read_in_pieces(catalog: C) {
    let all: Vec<_> = (0..25).map(record).collect();
    catalog.append_audit(&all).await.unwrap();
    let (mut before, mut seen) = (None, Vec::new());
    loop {
        let piece = catalog.audit(None, before, 10).await.unwrap();
        let Some(last) = piece.last() else { break };
        before = Some(last.seq);
        seen.extend(piece.into_iter().map(|stored| stored.record));
    }
    let backwards: Vec<_> = all.into_iter().rev().collect();
    assert_eq!(seen, backwards);
}

async fn one_principal_sees_its_own_records(catalog: C) {
    catalog.append_audit(&(0..4).map(record).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(statements(&catalog, Some("ada"), None).await, ["SELECT 2", "SELECT 0"]);
    assert!(statements(&catalog, Some("eve"), None).await.is_empty());
}

async fn old_records_and_too_many_go(catalog: C) {
    catalog.append_audit(&(0..10).map(record).collect::<Vec<_>>()).await.unwrap();
    catalog.prune_audit(at(4), 100).await.unwrap();
    assert_eq!(statements(&catalog, None, None).await.len(), 6, "from 4 on");
    catalog.prune_audit(at(0), 2).await.unwrap();
    assert_eq!(statements(&catalog, None, None).await, ["SELECT 9", "SELECT 8"]);
    // Numbers are not given twice, so that nobody who reads in pieces misses a record.
    let highest = catalog.audit(None, None, 1).await.unwrap()[0].seq;
    catalog.prune_audit(at(1_000), 0).await.unwrap();
    catalog.append_audit(&[record(11)]).await.unwrap();
    assert!(catalog.audit(None, None, 1).await.unwrap()[0].seq > highest);
}
