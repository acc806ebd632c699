//! Keeping a body while it streams out.
//!
//! The body that is sent is a [`Tee`]: it takes frames from the original body and leaves a copy of each (which for
//! `Bytes` is a reference) in a buffer that it shares with [`Kept`]. The next attempt's `Tee` sends what is in the
//! buffer and then goes on with the original body, wherever that is by then. There is one reader at a time: a new one
//! supersedes the one before, which a connection may still be holding on to. Or there are [several](Limit::for_several),
//! each of which reads what it lacks from the buffer, and the one that is first from the original body.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::{
    Limit, Lost,
    crowd::{Crowd, Waiting},
};

/// Keeps `body` as it streams out, for bodies that can be made of any other body, as boxed ones can.
///
/// `wrap` makes a body of the same type; `superseded` its error, if there is one to be made, for a body that is read on
/// after the next attempt has begun (without one, such a body never ends: what has been sent of it must not pass for
/// the whole).
///
/// A body that is at its end already costs nothing but the look. One that says it is larger than `limit` isn't kept.
pub fn tee<B>(
    body: B,
    limit: &Limit,
    wrap: fn(Tee<B>) -> B,
    superseded: fn() -> Option<B::Error>,
) -> (B, Option<Kept<B>>)
where
    B: Body<Data = Bytes> + Default + Unpin,
{
    if body.is_end_stream() {
        return (body, Some(Kept { wrap, shared: None }));
    }
    let whole = body.size_hint();
    if whole.lower() > limit.bytes() as u64 {
        limit.exceeded();
        return (body, None);
    }
    let record = Record::Kept(Recording { limit: limit.clone(), bytes: 0 });
    let crowd = limit.is_for_several().then(Crowd::new);
    let state = State {
        rest: body,
        whole,
        record,
        frames: VecDeque::new(),
        ended: false,
        reader: 0,
        waker: None,
        crowd,
        superseded,
    };
    let shared = Shared(Arc::new(Mutex::new(state)));
    (wrap(Tee { shared: shared.clone(), reader: 0, next: 0, sent: 0 }), Some(Kept { wrap, shared: Some(shared) }))
}

/// What was kept of a body by [`tee`].
pub struct Kept<B: Body> {
    wrap: fn(Tee<B>) -> B,
    /// None for a body that was at its end.
    shared: Option<Shared<B>>,
}

/// A body that is kept while it streams out.
pub struct Tee<B: Body> {
    shared: Shared<B>,
    reader: u64,
    /// The frame to be read next from what was kept; beyond that, from the rest.
    next: usize,
    /// How many bytes this one has sent.
    sent: u64,
}

/// The body of an attempt that has been given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superseded;

struct Shared<B: Body>(Arc<Mutex<State<B>>>);

/// Guarded by the lock of [`Shared`], which is held while the rest is polled: there is one reader, so nobody waits.
struct State<B: Body> {
    rest: B,
    /// What the body said of its length to begin with. A later attempt says the same, although more may be known by
    /// then: over HTTP/1.1 a body of known length is framed in another way, and can't have trailers.
    whole: SizeHint,
    record: Record,
    frames: VecDeque<Kind>,
    /// The rest has given its last frame.
    ended: bool,
    /// The reader that came last. Without a crowd it is its turn.
    reader: u64,
    /// The reader's, so that it learns that it has been superseded.
    waker: Option<Waker>,
    /// Those who read, if there may be several at once.
    crowd: Option<Crowd>,
    superseded: fn() -> Option<B::Error>,
}

type Polled<B> = Poll<Option<Result<Frame<Bytes>, <B as Body>::Error>>>;

enum Record {
    Kept(Recording),
    /// There will be no other reader.
    Released,
    Lost(Lost),
}

struct Recording {
    limit: Limit,
    bytes: usize,
}

#[derive(Clone)]
enum Kind {
    Data(Bytes),
    Trailers(HeaderMap),
}

// ===== impl Kept =====

impl<B> Kept<B>
where
    B: Body<Data = Bytes> + Default + Unpin,
{
    /// The body from its beginning. The one before is superseded, unless there may be several at once.
    ///
    /// # Errors
    ///
    /// If it was too large to be kept, or broke off.
    pub fn replay(&mut self) -> Result<B, Lost> {
        let Some(shared) = &self.shared else { return Ok(B::default()) };
        let mut state = shared.lock();
        if let Record::Lost(lost) = state.record {
            return Err(lost);
        }
        state.reader += 1;
        let reader = state.reader;
        if let Some(crowd) = &mut state.crowd {
            crowd.readers += 1;
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok((self.wrap)(Tee { shared: shared.clone(), reader, next: 0, sent: 0 }))
    }
}

/// No other attempt will be made: what is read from now on needn't be kept.
impl<B: Body> Drop for Kept<B> {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            let mut state = shared.lock();
            if state.crowd.as_mut().is_none_or(Crowd::close) {
                state.release();
            }
        }
    }
}

impl<B: Body> fmt::Debug for Kept<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

// ===== impl Tee =====

impl<B> Body for Tee<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let mut state = this.shared.lock();
        if !state.may_read(this.reader) {
            return match (state.superseded)() {
                Some(error) => Poll::Ready(Some(Err(error))),
                None => Poll::Pending,
            };
        }
        if let Some(kind) = state.kept(&mut this.next) {
            this.sent += kind.data_len();
            return Poll::Ready(Some(Ok(kind.into())));
        }
        let (frame, others) = state.poll_next(this.reader, cx);
        // What was just read is kept behind everything that was read before.
        this.next = state.frames.len();
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            this.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        drop(state);
        if let Some(others) = others {
            others.wake_all();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        let state = self.shared.lock();
        state.may_read(self.reader) && self.next >= state.frames.len() && state.at_end()
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.shared.lock();
        if !state.may_read(self.reader) {
            return SizeHint::default();
        }
        let mut hint = SizeHint::new();
        hint.set_lower(state.whole.lower().saturating_sub(self.sent));
        if let Some(upper) = state.whole.upper() {
            hint.set_upper(upper.saturating_sub(self.sent).max(hint.lower()));
        }
        hint
    }
}

/// One less of those whom the frames are kept for.
impl<B: Body> Drop for Tee<B> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.crowd.as_mut().is_some_and(|crowd| crowd.leave(self.reader)) {
            state.release();
        }
    }
}

impl<B: Body> fmt::Debug for Tee<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tee").field("next", &self.next).finish_non_exhaustive()
    }
}

// ===== impl State =====

impl<B: Body> Shared<B> {
    fn lock(&self) -> MutexGuard<'_, State<B>> {
        // Poisoned, some body panicked; its reader goes down with it, and there is no other.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Body> Clone for Shared<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B: Body> State<B> {
    fn may_read(&self, reader: u64) -> bool {
        match (&self.crowd, &self.record) {
            (None, _) => reader == self.reader,
            // The others lack a part of what was kept.
            (Some(crowd), Record::Lost(_)) => reader == crowd.leader,
            (Some(_), Record::Kept(_) | Record::Released) => true,
        }
    }

    /// Nothing more is kept.
    fn release(&mut self) {
        if let Record::Kept(_) = self.record {
            self.record = Record::Released;
        }
    }
}

impl<B> State<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// The next frame of those that were kept.
    fn kept(&mut self, next: &mut usize) -> Option<Kind> {
        if let Record::Released = self.record {
            // Nobody will ask for these again.
            self.frames.drain(..(*next).min(self.frames.len()));
            *next = 0;
            return self.frames.pop_front();
        }
        let kind = self.frames.get(*next)?.clone();
        *next += 1;
        Some(kind)
    }

    /// The next frame of the rest, and those who are to be woken for it too.
    fn poll_next(&mut self, reader: u64, cx: &mut Context<'_>) -> (Polled<B>, Option<Arc<Waiting>>) {
        let Some(crowd) = &mut self.crowd else { return (self.poll_rest(cx), None) };
        let (waiting, last) = (crowd.waiting.clone(), crowd.leader);
        waiting.wait(reader, cx.waker());
        crowd.leader = reader;
        let frame = self.poll_rest(&mut Context::from_waker(&Waker::from(waiting.clone())));
        if frame.is_pending() {
            self.crowd.iter_mut().for_each(|crowd| crowd.leader = last);
            return (frame, None);
        }
        waiting.no_longer(reader);
        (frame, Some(waiting))
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Polled<B> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.rest).poll_frame(cx);
        if polled.is_pending()
            && self.crowd.is_none()
            && !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            self.waker = Some(cx.waker().clone());
        }
        let frame = ready!(polled);
        match &frame {
            Some(Ok(frame)) => {
                self.ended = frame.is_trailers();
                self.keep(frame);
            }
            Some(Err(_)) => self.lose(Lost::Broken),
            None => self.ended = true,
        }
        Poll::Ready(frame)
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        let Record::Kept(recording) = &mut self.record else { return };
        let kind = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) if data.is_empty() => return,
            (Some(data), _) => Kind::Data(data.clone()),
            (None, Some(trailers)) => Kind::Trailers(trailers.clone()),
            (None, None) => return,
        };
        recording.bytes = recording.bytes.saturating_add(kind.len());
        if recording.bytes > recording.limit.bytes() {
            recording.limit.exceeded();
            self.lose(Lost::TooLarge);
        } else {
            self.frames.push_back(kind);
        }
    }

    fn lose(&mut self, lost: Lost) {
        self.record = Record::Lost(lost);
        self.frames = VecDeque::new();
    }

    fn at_end(&self) -> bool {
        self.ended || self.rest.is_end_stream()
    }
}

// ===== impl Kind =====

impl Kind {
    fn data_len(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Trailers(_) => 0,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(trailers) => trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum(),
        }
    }
}

impl From<Kind> for Frame<Bytes> {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Data(data) => Self::data(data),
            Kind::Trailers(trailers) => Self::trailers(trailers),
        }
    }
}

// ===== impl Superseded =====

impl fmt::Display for Superseded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request is being sent again")
    }
}

impl std::error::Error for Superseded {}

#[cfg(all(test, not(buttress_loom)))]
mod tests;
