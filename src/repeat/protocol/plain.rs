//! Plain services: the request is cloned.

use std::{
    error::Error,
    fmt,
    task::{Context, Poll},
};

use super::{Repeat, Unsaid, Verdict};
use crate::{
    BoxError,
    budget::Cost,
    deadline::Deadline,
    protocol::Plain,
    rejection::Rejection,
    repeat::{
        replay::{Limit, Lost},
        rules::RetryResult,
        verdict::Failure,
    },
};

impl<Req, Res, E, C, R> Repeat<Req, Res, E, R> for Plain<C>
where
    Req: Clone,
    E: Into<BoxError>,
    R: RetryResult<Req, Res>,
{
    type Kept = Req;
    type Response = Res;
    type Error = BoxError;

    fn keep(&self, request: Req, _limit: &Limit) -> (Req, Option<Req>) {
        (request.clone(), Some(request))
    }

    fn again(&self, kept: &mut Req, _retries: u32) -> Result<Req, Lost> {
        Ok(kept.clone())
    }

    fn deadline(&self, _kept: &Req) -> Option<Deadline> {
        None
    }

    fn error(&self, error: E) -> BoxError {
        error.into()
    }

    fn answer(&self, result: Result<Res, E>) -> Result<Res, BoxError> {
        result.map_err(Into::into)
    }

    fn poll_verdict(&self, _answer: &mut Result<Res, BoxError>, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn judge(&self, rules: &R, answer: &Result<Res, BoxError>) -> Verdict {
        match answer {
            Err(error) if Rejection::find(error).is_some() => Verdict::Refused { by_server: false },
            answer if rules.would_help(answer.as_ref()) => {
                Verdict::Failed(Failure { cost: Cost::Transient, ask: None, sent: true })
            }
            Ok(_) => Verdict::Success,
            Err(_) => Verdict::Final,
        }
    }

    fn sent_before(&self, refused: Result<Res, BoxError>) -> Result<Res, BoxError> {
        refused.map_err(|error| match Rejection::find(&error) {
            Some(rejection) => RefusedLater(rejection.clone()).into(),
            None => error,
        })
    }

    fn is_safe(&self, rules: &R, kept: &Req) -> Result<bool, Unsaid> {
        if rules.is_unsaid() { Err(Unsaid) } else { Ok(rules.is_safe(kept)) }
    }
}

/// An attempt was refused, but one before it may have been carried out. The rejection is no source of it, for it would
/// say that nothing was sent.
#[derive(Debug)]
struct RefusedLater(Rejection);

impl fmt::Display for RefusedLater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; an earlier attempt may have been carried out", self.0)
    }
}

impl Error for RefusedLater {}
