use rt::clock::SystemClock;

use super::*;

#[tokio::test]
async fn every_listener_hears_a_single_notification_also_when_it_was_busy() {
    let (bell, wake, stop) = (Bell::new(), Arc::new(Notify::new()), CancellationToken::new());
    let mut listeners = [bell.listen(), bell.listen()];
    let hour = Duration::from_secs(3600);
    let relay = relay(bell, Arc::clone(&wake), Arc::new(SystemClock), hour, stop.clone());
    let relay = tokio::spawn(relay);
    for listener in &mut listeners {
        // The first ring: there may be work from before the start.
        listener.changed().await.unwrap();
    }
    wake.notify_one();
    for listener in &mut listeners {
        listener.changed().await.unwrap();
    }
    stop.cancel();
    relay.await.unwrap();
}

#[tokio::test]
async fn it_rings_on_every_tick_when_nobody_notifies() {
    let (bell, wake, stop) = (Bell::new(), Arc::new(Notify::new()), CancellationToken::new());
    let mut listener = bell.listen();
    let tick = Duration::from_millis(1);
    let relay = tokio::spawn(relay(bell, wake, Arc::new(SystemClock), tick, stop.clone()));
    for _ in 0..3 {
        listener.changed().await.unwrap();
    }
    stop.cancel();
    relay.await.unwrap();
}
