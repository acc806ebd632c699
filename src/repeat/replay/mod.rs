//! How a request's body is kept, to be sent again.
//!
//! The request's type has to stay what it is, or a retry fits neither a tonic channel nor a typed hyper client. So it is
//! the body's type that says how it is kept: [`ReplayBody`].

mod bodies;
mod crowd;
mod tee;

use std::{fmt, sync::Arc};

use http_body::Body;

pub use self::tee::{Kept, Superseded, Tee, tee};

/// A request body that can be sent again.
///
/// Implemented for bodies that are cheap to clone ([`Full`](http_body_util::Full), [`Empty`](http_body_util::Empty),
/// `String`), by cloning; and for axum's, tonic's and the boxed bodies by keeping what streams out ([`tee`]): nothing
/// waits for the whole body, and no `Bytes` are copied.
///
/// For a type of your own that clones cheaply:
///
/// ```
/// use buttress::repeat::replay::{Limit, Lost, ReplayBody};
/// # use std::{convert::Infallible, pin::Pin, task::{Context, Poll}};
/// # use http_body::{Body, Frame};
/// # #[derive(Clone)]
/// # struct Greeting(Option<bytes::Bytes>);
/// # impl Body for Greeting {
/// #     type Data = bytes::Bytes;
/// #     type Error = Infallible;
/// #     fn poll_frame(
/// #         mut self: Pin<&mut Self>, _: &mut Context<'_>,
/// #     ) -> Poll<Option<Result<Frame<bytes::Bytes>, Infallible>>> {
/// #         Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
/// #     }
/// # }
///
/// impl ReplayBody for Greeting {
///     type Kept = Self;
///
///     fn keep(self, _: &Limit) -> (Self, Option<Self>) {
///         (self.clone(), Some(self))
///     }
///
///     fn replay(kept: &mut Self) -> Result<Self, Lost> {
///         Ok(kept.clone())
///     }
/// }
/// ```
pub trait ReplayBody: Body + Sized {
    /// What is kept of the body.
    type Kept;

    /// The body to be sent now, and what it takes to send it again; `None` if it is clear that it can't be.
    fn keep(self, limit: &Limit) -> (Self, Option<Self::Kept>);

    /// The body to be sent again, from its beginning. The one before is not sent on, unless the limit was
    /// [for several at once](Limit::is_for_several).
    ///
    /// # Errors
    ///
    /// If it can't be.
    fn replay(kept: &mut Self::Kept) -> Result<Self, Lost>;
}

/// How much of a body may be kept, and whether for one request after another or for several at once.
#[derive(Clone)]
pub struct Limit {
    bytes: usize,
    several: bool,
    told: Option<Arc<dyn Oversized>>,
}

/// A policy that counts the bodies it couldn't keep.
pub(crate) trait Oversized: Send + Sync {
    /// A body is larger than the `limit`, in bytes.
    fn too_large(&self, limit: usize);
}

/// Why a body can't be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// It is larger than what may be kept.
    TooLarge,
    /// It broke off itself.
    Broken,
}

impl Limit {
    /// At most so many bytes of data and trailers.
    pub const fn new(bytes: usize) -> Self {
        Self { bytes, several: false, told: None }
    }

    pub(crate) fn counted(bytes: usize, told: Arc<dyn Oversized>) -> Self {
        Self { bytes, several: false, told: Some(told) }
    }

    /// The body is sent several times at once, and none of them supersedes another.
    #[must_use]
    pub const fn for_several(mut self) -> Self {
        self.several = true;
        self
    }

    /// Whether the body is sent several times at once, so that none of them may supersede another.
    pub const fn is_for_several(&self) -> bool {
        self.several
    }

    /// At most so many bytes of data and trailers.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A body is larger than this; the policy counts it.
    pub fn exceeded(&self) {
        if let Some(told) = &self.told {
            told.too_large(self.bytes);
        }
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Limit").field(&self.bytes).finish()
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "body too large to be kept",
            Self::Broken => "body broke off",
        })
    }
}

impl std::error::Error for Lost {}
