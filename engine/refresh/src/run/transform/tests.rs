use model::id::ObjectId;

use super::*;

fn input(object: ObjectId, table: &str, version: i64) -> PinnedInput {
    let name = ObjectName::new("main", "t").unwrap();
    PinnedInput { object, name, delta_table_id: table.to_owned(), version }
}

#[test]
fn inputs_are_the_same_tables_whatever_their_versions() {
    let (a, b) = (ObjectId::generate(), ObjectId::generate());
    let last = [input(a, "x", 1), input(b, "y", 2)];
    let cases = [
        (vec![input(b, "y", 2), input(a, "x", 1)], true),
        (vec![input(a, "x", 1), input(b, "y", 3)], true),
        (vec![input(a, "x", 1), input(b, "made anew", 2)], false),
        (vec![input(a, "x", 1)], false),
        (vec![], false),
    ];
    for (now, same) in cases {
        assert_eq!(same_tables(&last, &now), same, "{now:?}");
    }
}
