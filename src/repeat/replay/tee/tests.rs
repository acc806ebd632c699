use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
    task::Wake,
};

use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use proptest::prelude::*;

use super::*;
use crate::repeat::ReplayBody;

type Boxed = UnsyncBoxBody<Bytes, io::Error>;

/// What a scripted body gives, one after another.
#[derive(Debug, Clone)]
enum Step {
    Data(Bytes),
    Trailers,
    Pending,
    Break,
}

/// A body that knows how long it is.
struct Scripted(VecDeque<Step>);

impl Body for Scripted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(match self.0.pop_front() {
            Some(Step::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Step::Trailers) => Some(Ok(Frame::trailers(trailers()))),
            Some(Step::Pending) => return Poll::Pending,
            Some(Step::Break) => Some(Err(io::Error::other("broke off"))),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(
            self.0.iter().map(|step| if let Step::Data(data) = step { data.len() as u64 } else { 0 }).sum(),
        )
    }
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("sum".parse().unwrap(), "42".parse().unwrap())])
}

fn data(bytes: &'static str) -> Step {
    Step::Data(Bytes::from_static(bytes.as_bytes()))
}

fn keep(steps: impl IntoIterator<Item = Step>, limit: usize) -> (Boxed, Option<Kept<Boxed>>) {
    Boxed::new(Scripted(steps.into_iter().collect())).keep(&Limit::new(limit))
}

fn next(body: &mut Boxed) -> Poll<Option<io::Result<Frame<Bytes>>>> {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

/// The rest of a body, polled past its pauses: its bytes, and whether there were trailers. Checks that the body says at
/// each step how long it is.
fn rest(body: &mut Boxed) -> (Vec<u8>, bool) {
    let (mut bytes, mut had_trailers) = (Vec::new(), false);
    let mut left = body.size_hint().exact().unwrap();
    loop {
        assert_eq!(body.size_hint().exact(), Some(left));
        let frame = match next(body) {
            Poll::Ready(Some(frame)) => frame.unwrap(),
            Poll::Ready(None) => break,
            Poll::Pending => continue,
        };
        match frame.into_data() {
            Ok(data) => {
                left -= data.len() as u64;
                bytes.extend_from_slice(&data);
            }
            Err(frame) => {
                assert_eq!(frame.into_trailers().unwrap(), trailers());
                had_trailers = true;
            }
        }
        if body.is_end_stream() {
            break;
        }
    }
    assert_eq!(left, 0);
    (bytes, had_trailers)
}

#[test]
fn the_next_attempt_goes_on_where_the_last_one_was_given_up() {
    let (mut first, kept) = keep([data("ab"), data("cd"), data("ef"), Step::Trailers], 100);
    let mut kept = kept.unwrap();
    assert_eq!(first.size_hint().exact(), Some(6));
    for expected in ["ab", "cd"] {
        assert!(matches!(next(&mut first), Poll::Ready(Some(Ok(frame))) if frame.data_ref().unwrap() == expected));
    }
    let mut second = kept.replay().unwrap();
    assert_eq!(second.size_hint().exact(), Some(6));
    assert!(matches!(next(&mut second), Poll::Ready(Some(Ok(frame))) if frame.data_ref().unwrap() == "ab"));
    assert_eq!(rest(&mut second), (b"cdef".to_vec(), true));
    assert!(second.is_end_stream());
    assert_eq!(rest(&mut kept.replay().unwrap()), (b"abcdef".to_vec(), true));
}

#[test]
fn a_body_of_unknown_length_stays_one_however_much_is_known_by_now() {
    let frames = ["abc", "def"].map(|data| Ok::<_, io::Error>(Frame::data(Bytes::from(data))));
    let body = Boxed::new(http_body_util::StreamBody::new(futures_util::stream::iter(frames)));
    let (mut body, kept) = body.keep(&Limit::new(100));
    assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (0, None));
    while let Poll::Ready(Some(_)) = next(&mut body) {}
    let body = kept.unwrap().replay().unwrap();
    assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (0, None));
}

#[test]
fn bytes_are_shared_and_not_copied() {
    let original = Bytes::from(vec![7; 1000]);
    let (mut first, kept) = keep([Step::Data(original.clone())], 1000);
    assert!(next(&mut first).is_ready());
    let mut second = kept.unwrap().replay().unwrap();
    let Poll::Ready(Some(Ok(frame))) = next(&mut second) else { panic!("no frame") };
    assert_eq!(frame.data_ref().unwrap().as_ptr(), original.as_ptr());
}

#[test]
fn an_attempt_that_was_given_up_breaks_off_and_is_told_so() {
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    let (mut first, kept) = keep([data("ab"), Step::Pending, data("cd")], 100);
    let mut kept = kept.unwrap();
    assert!(next(&mut first).is_ready());
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(count.clone());
    assert!(Pin::new(&mut first).poll_frame(&mut Context::from_waker(&waker)).is_pending());

    let mut second = kept.replay().unwrap();
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    let Poll::Ready(Some(Err(error))) = next(&mut first) else { panic!("went on") };
    assert!(error.get_ref().unwrap().is::<Superseded>());
    assert!(!first.is_end_stream());
    assert_eq!(rest(&mut second), (b"abcd".to_vec(), false));
}

#[test]
fn without_an_error_to_break_off_with_it_never_ends() {
    let body = UnsyncBoxBody::<Bytes, std::convert::Infallible>::new(Full::from("ab"));
    let (mut first, kept) = body.keep(&Limit::new(100));
    let _second = kept.unwrap().replay().unwrap();
    assert!(Pin::new(&mut first).poll_frame(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(!first.is_end_stream());
}

#[test]
fn a_body_beyond_the_limit_goes_out_whole_and_only_once() {
    // It says how long it is, and isn't even begun to be kept.
    let (mut body, kept) = keep([data("abc"), data("def")], 5);
    assert!(kept.is_none());
    assert_eq!(rest(&mut body), (b"abcdef".to_vec(), false));

    // It turns out to be longer.
    let frames = ["abc", "def", "ghi"].map(|data| Ok::<_, io::Error>(Frame::data(Bytes::from(data))));
    let body = Boxed::new(http_body_util::StreamBody::new(futures_util::stream::iter(frames)));
    let (mut body, kept) = body.keep(&Limit::new(5));
    let mut kept = kept.unwrap();
    assert!(next(&mut body).is_ready() && next(&mut body).is_ready());
    assert_eq!(kept.replay().unwrap_err(), Lost::TooLarge);
    assert!(matches!(next(&mut body), Poll::Ready(Some(Ok(frame))) if frame.data_ref().unwrap() == "ghi"));
    assert!(matches!(next(&mut body), Poll::Ready(None)));
}

#[test]
fn trailers_count_towards_the_limit() {
    let (mut body, kept) = keep([data("abc"), Step::Trailers], 7);
    rest(&mut body);
    assert_eq!(kept.unwrap().replay().unwrap_err(), Lost::TooLarge);
    let (mut body, kept) = keep([data("abc"), Step::Trailers], 8);
    rest(&mut body);
    assert!(kept.unwrap().replay().is_ok());
}

#[test]
fn a_body_that_breaks_off_cannot_be_sent_again() {
    let (mut body, kept) = keep([data("abc"), Step::Break], 100);
    assert!(next(&mut body).is_ready());
    assert!(matches!(next(&mut body), Poll::Ready(Some(Err(_)))));
    assert_eq!(kept.unwrap().replay().unwrap_err(), Lost::Broken);
}

#[test]
fn a_body_at_its_end_costs_nothing() {
    let body = Boxed::new(Empty::new().map_err(|never| match never {}));
    let (body, kept) = body.keep(&Limit::new(0));
    let mut kept = kept.unwrap();
    assert!(kept.shared.is_none() && body.is_end_stream());
    assert!(kept.replay().unwrap().is_end_stream());
}

#[test]
fn what_was_kept_is_let_go_once_there_is_no_other_attempt() {
    let (mut first, kept) = keep([data("ab"), data("cd"), data("ef")], 100);
    let mut kept = kept.unwrap();
    assert!(next(&mut first).is_ready() && next(&mut first).is_ready());
    let mut second = kept.replay().unwrap();
    assert!(next(&mut second).is_ready());
    let shared = kept.shared.clone().unwrap();
    drop(kept);
    assert_eq!(second.size_hint().exact(), Some(4));
    assert_eq!(rest(&mut second), (b"cdef".to_vec(), false));
    assert!(shared.lock().frames.is_empty());
}

// ===== several at once =====

fn keep_for_several(steps: impl IntoIterator<Item = Step>, limit: usize) -> (Boxed, Kept<Boxed>) {
    let body = Boxed::new(Scripted(steps.into_iter().collect()));
    let (body, kept) = body.keep(&Limit::new(limit).for_several());
    (body, kept.unwrap())
}

fn next_data(body: &mut Boxed) -> Bytes {
    match next(body) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn of_several_none_supersedes_another() {
    let (mut first, mut kept) = keep_for_several([data("ab"), data("cd"), Step::Trailers], 100);
    assert_eq!(next_data(&mut first), "ab");
    let mut second = kept.replay().unwrap();
    assert_eq!(next_data(&mut second), "ab");
    // Now the second is ahead.
    assert_eq!(next_data(&mut second), "cd");
    assert_eq!(rest(&mut first), (b"cd".to_vec(), true));
    assert_eq!(rest(&mut second), (Vec::new(), true));
    assert_eq!(rest(&mut kept.replay().unwrap()), (b"abcd".to_vec(), true));
}

/// Wakes whoever asked last, and nobody else, as a body may.
#[derive(Clone, Default)]
struct Channel(Arc<Mutex<(VecDeque<Bytes>, Option<Waker>)>>);

impl Channel {
    fn send(&self, data: &'static str) {
        let mut channel = self.0.lock().unwrap();
        channel.0.push_back(Bytes::from(data));
        let waker = channel.1.take();
        drop(channel);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Body for Channel {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut channel = self.0.lock().unwrap();
        match channel.0.pop_front() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None => {
                channel.1 = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[test]
fn of_several_all_are_woken_also_when_the_one_that_asked_last_is_gone() {
    let channel = Channel::default();
    let (first, kept) = Boxed::new(channel.clone()).keep(&Limit::new(100).for_several());
    let second = kept.unwrap().replay().unwrap();
    let third_is_gone = |mut first: tokio_test::task::Spawn<Boxed>, second: tokio_test::task::Spawn<Boxed>| {
        drop(second);
        channel.send("ab");
        assert!(first.is_woken());
        first.enter(|cx, body| assert!(body.poll_frame(cx).is_ready()));
    };
    let (mut first, mut second) = (tokio_test::task::spawn(first), tokio_test::task::spawn(second));
    first.enter(|cx, body| assert!(body.poll_frame(cx).is_pending()));
    second.enter(|cx, body| assert!(body.poll_frame(cx).is_pending()));

    // One takes the frame that was sent, the other learns that there is one to be had.
    channel.send("cd");
    assert!(first.is_woken() && second.is_woken());
    first.enter(|cx, body| assert!(body.poll_frame(cx).is_ready()));
    first.enter(|cx, body| assert!(body.poll_frame(cx).is_pending()));
    second.enter(|cx, body| assert!(body.poll_frame(cx).is_ready()));
    second.enter(|cx, body| assert!(body.poll_frame(cx).is_pending()));
    third_is_gone(first, second);
}

#[test]
fn of_several_only_the_first_goes_on_when_the_body_is_too_large() {
    let frames = ["abc", "def", "ghi"].map(|data| Ok::<_, io::Error>(Frame::data(Bytes::from(data))));
    let body = Boxed::new(http_body_util::StreamBody::new(futures_util::stream::iter(frames)));
    let (mut first, kept) = body.keep(&Limit::new(5).for_several());
    let mut kept = kept.unwrap();
    assert_eq!(next_data(&mut first), "abc");
    let mut second = kept.replay().unwrap();
    assert_eq!(next_data(&mut first), "def");
    assert!(matches!(next(&mut second), Poll::Ready(Some(Err(_)))), "what it lacks isn't there any more");
    assert!(!second.is_end_stream());
    assert_eq!(next_data(&mut first), "ghi");
    assert!(matches!(next(&mut first), Poll::Ready(None)));
    assert_eq!(kept.replay().unwrap_err(), Lost::TooLarge);
}

#[test]
fn of_several_the_others_break_off_where_the_body_does() {
    let (mut first, mut kept) = keep_for_several([data("ab"), Step::Break, data("cd")], 100);
    let mut second = kept.replay().unwrap();
    assert_eq!(next_data(&mut first), "ab");
    assert!(matches!(next(&mut first), Poll::Ready(Some(Err(_)))));
    assert!(matches!(next(&mut second), Poll::Ready(Some(Err(_)))));
}

#[test]
fn what_was_kept_for_several_is_let_go_when_one_is_left() {
    let (mut first, mut kept) = keep_for_several([data("ab"), data("cd"), data("ef")], 100);
    let mut second = kept.replay().unwrap();
    let shared = kept.shared.clone().unwrap();
    assert_eq!(next_data(&mut first), "ab");
    drop(kept);
    assert_eq!(next_data(&mut first), "cd");
    assert_eq!(shared.lock().frames.len(), 2, "the second still wants them");
    drop(first);
    assert_eq!(next_data(&mut second), "ab");
    assert_eq!(rest(&mut second), (b"cdef".to_vec(), false));
    assert!(shared.lock().frames.is_empty());
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => proptest::collection::vec(any::<u8>(), 0..20).prop_map(|data| Step::Data(data.into())),
        1 => Just(Step::Pending),
    ]
}

proptest! {
    #[test]
    fn every_attempt_sends_the_whole_body(
        mut steps in proptest::collection::vec(any_step(), 1..20),
        with_trailers in any::<bool>(),
        given_up_after in proptest::collection::vec(0_usize..25, 0..5),
        released in any::<bool>(),
    ) {
        steps.extend(with_trailers.then_some(Step::Trailers));
        let whole = steps.iter().filter_map(|step| match step {
            Step::Data(data) => Some(data.as_ref()),
            _ => None,
        });
        let whole = whole.collect::<Vec<_>>().concat();
        let (mut body, kept) = keep(steps, 1000);
        let mut kept = kept.unwrap();
        for polls in given_up_after {
            for _ in 0..polls {
                let _ = next(&mut body);
            }
            body = kept.replay().unwrap();
            prop_assert_eq!(body.size_hint().exact(), Some(whole.len() as u64));
        }
        if released {
            drop(kept);
        }
        prop_assert_eq!(rest(&mut body), (whole, with_trailers));
    }

    #[test]
    fn each_of_several_sends_the_whole_body(
        mut steps in proptest::collection::vec(any_step(), 1..20),
        with_trailers in any::<bool>(),
        // Polls one of the readers, adds one, or drops one.
        moves in proptest::collection::vec((0_usize..10, any::<proptest::sample::Index>()), 0..60),
        released in any::<bool>(),
    ) {
        steps.extend(with_trailers.then_some(Step::Trailers));
        let whole = steps.iter().filter_map(|step| match step {
            Step::Data(data) => Some(data.as_ref()),
            _ => None,
        });
        let whole = whole.collect::<Vec<_>>().concat();
        let (body, mut kept) = keep_for_several(steps, 1000);
        let mut readers = vec![(body, Vec::new(), false)];
        for (kind, index) in moves {
            let at = index.index(readers.len());
            match kind {
                0 if readers.len() < 5 => readers.push((kept.replay().unwrap(), Vec::new(), false)),
                1 if readers.len() > 1 => drop(readers.swap_remove(at)),
                _ => {
                    let (body, sent, trailers) = &mut readers[at];
                    if let Poll::Ready(Some(frame)) = next(body) {
                        match frame.unwrap().into_data() {
                            Ok(data) => sent.extend_from_slice(&data),
                            Err(_) => *trailers = true,
                        }
                    }
                }
            }
        }
        if released {
            drop(kept);
        }
        for (mut body, mut sent, mut trailers) in readers {
            let (more, had_trailers) = rest(&mut body);
            sent.extend_from_slice(&more);
            trailers |= had_trailers;
            prop_assert_eq!((&sent, trailers), (&whole, with_trailers));
        }
    }
}
