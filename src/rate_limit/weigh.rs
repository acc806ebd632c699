//! How much a call counts for.

/// How much a call counts for. Implemented for closures: `|request: &Request<Body>| 1`.
pub trait Weigh<Req> {
    /// For how many calls `request` counts. Zero is always let through; more than the burst never is.
    fn weigh(&self, request: &Req) -> u32;
}

/// Every call counts for one.
#[derive(Debug, Clone, Copy, Default)]
pub struct One;

impl<Req> Weigh<Req> for One {
    #[inline]
    fn weigh(&self, _request: &Req) -> u32 {
        1
    }
}

impl<Req, F> Weigh<Req> for F
where
    F: Fn(&Req) -> u32,
{
    #[inline]
    fn weigh(&self, request: &Req) -> u32 {
        self(request)
    }
}
