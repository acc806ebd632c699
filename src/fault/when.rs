//! With which calls something may go wrong.

/// With which calls something may go wrong. Implemented for closures: `|request: &Request<Body>| true`.
pub trait When<Req> {
    /// Whether something may go wrong with `request`. One that is spared isn't counted, so it moves no script on.
    fn may_fail(&self, request: &Req) -> bool;
}

/// With every call.
#[derive(Debug, Clone, Copy, Default)]
pub struct Always;

impl<Req> When<Req> for Always {
    fn may_fail(&self, _request: &Req) -> bool {
        true
    }
}

impl<Req, F> When<Req> for F
where
    F: Fn(&Req) -> bool,
{
    fn may_fail(&self, request: &Req) -> bool {
        self(request)
    }
}
