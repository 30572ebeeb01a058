use futures::{FutureExt, future::BoxFuture};

use super::*;

#[derive(Debug, Default)]
struct TestClock(Mutex<i64>);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(*self.0.lock())
    }

    fn sleep(&self, _wait: Duration) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }
}

fn handles(count_max: usize) -> (Arc<TestClock>, Handles<u32>) {
    let clock = Arc::new(TestClock::default());
    let handles = Handles::new(count_max, Duration::from_secs(60), Arc::clone(&clock) as _);
    (clock, handles)
}

#[test]
fn a_handle_can_be_taken_once_and_only_by_its_owner() {
    let (_, handles) = handles(8);
    let (ann, bob) = (Principal::verified("ann"), Principal::verified("bob"));
    let handle = handles.insert(&ann, 7).unwrap();
    assert_eq!(handles.take(&handle, &bob), Err(HandleError::Unknown));
    assert_eq!(handles.take(&handle, &ann), Ok(7));
    assert_eq!(handles.take(&handle, &ann), Err(HandleError::Unknown));
}

#[test]
fn an_unused_handle_expires_and_a_used_one_lives_on() {
    let (clock, handles) = handles(8);
    let ann = Principal::verified("ann");
    let (used, idle) = (handles.insert(&ann, 1).unwrap(), handles.insert(&ann, 2).unwrap());
    *clock.0.lock() = 59_000_000;
    assert_eq!(handles.with(&used, &ann, |value| *value), Ok(1));
    *clock.0.lock() = 61_000_000;
    assert_eq!(handles.with(&used, &ann, |value| *value), Ok(1));
    assert_eq!(handles.take(&idle, &ann), Err(HandleError::Unknown));
}

#[test]
fn a_full_store_refuses_until_something_expires() {
    let (clock, handles) = handles(2);
    let ann = Principal::verified("ann");
    handles.insert(&ann, 1).unwrap();
    handles.insert(&ann, 2).unwrap();
    assert_eq!(handles.insert(&ann, 3), Err(HandleError::Full(2)));
    *clock.0.lock() = 61_000_000;
    assert!(handles.insert(&ann, 3).is_ok());
}

#[test]
fn whoever_has_most_makes_room_for_others() {
    let (clock, handles) = handles(4);
    let [ann, bob, root] = ["ann", "bob", "root"].map(Principal::verified);
    let first = handles.insert(&ann, 1).unwrap();
    *clock.0.lock() = 1_000_000;
    let mut others: Vec<_> = (2..=4).map(|n| handles.insert(&ann, n).unwrap()).collect();
    *clock.0.lock() = 2_000_000;
    assert_eq!(handles.with(&first, &ann, |value| *value), Ok(1));
    assert_eq!(handles.insert(&ann, 5), Err(HandleError::Full(4)), "she has most herself");
    let of_bob = handles.insert(&bob, 6).unwrap();
    let of_root = handles.insert(&root, 7).unwrap();
    // What she has used last is still there.
    others.retain(|handle| handles.with(handle, &ann, |_| ()).is_ok());
    assert_eq!(others.len(), 1);
    assert_eq!(handles.with(&first, &ann, |value| *value), Ok(1));
    assert_eq!(handles.insert(&ann, 5), Err(HandleError::Full(4)));
    // Nobody gets more than those who make room have left.
    assert_eq!(handles.insert(&bob, 8), Err(HandleError::Full(4)));
    assert_eq!(handles.with(&of_bob, &bob, |value| *value), Ok(6));
    assert_eq!(handles.with(&of_root, &root, |value| *value), Ok(7));
}

#[test]
fn a_handle_can_be_renewed_by_its_owner_and_has_its_own_time() {
    let (clock, handles) = handles(8);
    let (ann, bob) = (Principal::verified("ann"), Principal::verified("bob"));
    let short = handles.insert_for(Duration::from_secs(10), &ann, 1).unwrap();
    *clock.0.lock() = 9_000_000;
    assert_eq!(handles.renew(&short, &bob), Err(HandleError::Unknown));
    assert_eq!(handles.renew(&short, &ann), Ok(Timestamp::from_micros(19_000_000)));
    *clock.0.lock() = 18_000_000;
    assert_eq!(handles.with(&short, &ann, |value| *value), Ok(1));
    *clock.0.lock() = 29_000_000;
    assert_eq!(handles.renew(&short, &ann), Err(HandleError::Unknown), "too late");
}

#[test]
fn a_handle_that_another_server_has_made_is_kept_by_the_same_rules() {
    let (clock, handles) = handles(1);
    let (ann, bob) = (Principal::verified("ann"), Principal::verified("bob"));
    let (handle, other) = (Handle::generate().unwrap(), Handle::generate().unwrap());
    assert_ne!(handle, other);
    handles.insert_under(handle, &ann, 7).unwrap();
    assert_eq!(handles.insert_under(other, &ann, 8), Err(HandleError::Full(1)));
    assert_eq!(handles.take(&handle, &bob), Err(HandleError::Unknown));
    assert_eq!(handles.with(&handle, &ann, |value| *value), Ok(7));
    *clock.0.lock() = 61_000_000;
    assert_eq!(handles.take(&handle, &ann), Err(HandleError::Unknown));
}
