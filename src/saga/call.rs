//! Calls by name: what survives a restart, where a closure doesn't.

use std::{any::type_name, fmt, marker::PhantomData};

/// The name of a call with arguments of type `A`: what undoes a step, or what was promised for after the commit.
///
/// The arguments are in the journal before the step begins, as JSON, and the name says who is to get them. Which service
/// that is, is said once, to the [coordinator](super::CoordinatorBuilder::on). When what a call means changes, give it a new
/// name, `payments.refund@2`, and keep the old one registered until no saga names it any more.
///
/// ```
/// use buttress::{saga::Call, step::StepKey};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Refund {
///     charge: StepKey,
///     cents: i64,
/// }
///
/// const REFUND: Call<Refund> = Call::new("payments.refund");
/// ```
pub struct Call<A> {
    name: &'static str,
    shown: bool,
    args: PhantomData<fn(A)>,
}

impl<A> Call<A> {
    /// The call named `name`: 1 to 64 letters, digits and `-_.@:`. Its arguments are shown to nobody.
    pub const fn new(name: &'static str) -> Self {
        Self { name, shown: false, args: PhantomData }
    }

    /// Lets operators see the arguments: there is nothing in them that must not be seen.
    #[must_use]
    pub const fn shown(self) -> Self {
        Self { shown: true, ..self }
    }

    /// The name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) const fn is_shown(&self) -> bool {
        self.shown
    }
}

// Not derived: whatever the arguments are, a name can be copied.
impl<A> Clone for Call<A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for Call<A> {}

impl<A> fmt::Debug for Call<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({:?}, {})", self.name, type_name::<A>())
    }
}
