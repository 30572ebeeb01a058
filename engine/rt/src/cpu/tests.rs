use std::sync::atomic::{AtomicBool, Ordering};

use futures::stream;

use super::*;

#[derive(Debug)]
struct Failure(String);

impl From<CpuTaskError> for Failure {
    fn from(error: CpuTaskError) -> Self {
        Self(error.to_string())
    }
}

#[tokio::test]
async fn a_stream_arrives_whole_and_in_order() {
    let cpu = CpuRuntime::new(2).unwrap();
    let begin = || Ok(vec![stream::iter((0..1000).map(Ok::<_, Failure>))]);
    let numbers = cpu.run(begin, 2);
    let got: Vec<i32> = numbers.map(Result::unwrap).collect().await;
    assert_eq!(got, (0..1000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_panic_is_an_error_and_never_the_end_of_the_answer() {
    let cpu = CpuRuntime::new(1).unwrap();
    let breaking = |at: i32| {
        stream::iter(0..3).map(move |n| {
            assert!(n < at, "item {n} is bad");
            Ok::<_, Failure>(n)
        })
    };
    // Whichever of several it is that panics.
    for (streams, items) in [(vec![2], 2), (vec![2, 3], 5), (vec![3, 2], 5)] {
        let begin = move || Ok(streams.into_iter().map(breaking).collect());
        let got: Vec<_> = cpu.run(begin, 8).collect().await;
        let (read, failed): (Vec<_>, Vec<_>) = got.into_iter().partition(Result::is_ok);
        assert!(read.len() <= items && read.len() >= 2);
        assert_eq!(failed.len(), 1);
        let Err(Failure(text)) = &failed[0] else { panic!("an error") };
        assert!(text.contains("item 2 is bad"), "{text}");
    }
    let begin = || -> Result<Vec<stream::Empty<_>>, Failure> { panic!("no beginning") };
    let got: Vec<Result<i32, Failure>> = cpu.run(begin, 8).collect().await;
    assert!(got[0].as_ref().unwrap_err().0.contains("no beginning"));
}

#[tokio::test]
async fn what_cannot_begin_is_one_error() {
    let cpu = CpuRuntime::new(1).unwrap();
    let begin = || Err::<Vec<stream::Empty<_>>, _>(Failure("no streams".to_owned()));
    let got: Vec<Result<i32, Failure>> = cpu.run(begin, 1).collect().await;
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].as_ref().unwrap_err().0, "no streams");
}

#[tokio::test]
async fn dropping_the_reader_ends_the_work() {
    static DROPPED: AtomicBool = AtomicBool::new(false);
    struct Flag;
    impl Drop for Flag {
        fn drop(&mut self) {
            DROPPED.store(true, Ordering::SeqCst);
        }
    }
    let cpu = CpuRuntime::new(1).unwrap();
    let flag = Flag;
    let endless = stream::repeat(0).map(move |n| {
        let _keep = &flag;
        Ok::<_, Failure>(n)
    });
    let mut reader = cpu.run(move || Ok(vec![endless]), 1);
    assert!(reader.next().await.is_some());
    drop(reader);
    while !DROPPED.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn only_threads_that_give_way_have_a_lower_priority() {
    async fn niceness() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        // proc(5): the name in parentheses is the second field, the niceness the nineteenth.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').nth(16).unwrap().parse().unwrap()
    }
    let equal = CpuRuntime::new(1).unwrap().spawn(niceness()).await.unwrap();
    let giving_way = CpuRuntime::giving_way(1).unwrap().spawn(niceness()).await.unwrap();
    // Whoever runs the tests may have lowered theirs.
    assert_eq!(giving_way, equal.max(NICE));
    assert!(equal >= NICE || giving_way > equal);
}
