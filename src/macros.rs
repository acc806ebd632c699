/// The accessors every middleware of the tower family has.
macro_rules! define_inner_service_accessors {
    () => {
        /// The inner service.
        pub fn get_ref(&self) -> &S {
            &self.inner
        }

        /// The inner service, to be changed.
        pub fn get_mut(&mut self) -> &mut S {
            &mut self.inner
        }

        /// Gives the inner service back.
        pub fn into_inner(self) -> S {
            self.inner
        }
    };
}

/// A tonic server finds a service by its name, so whatever wraps one has to pass the name on.
macro_rules! forward_named_service {
    ($service:ident) => {
        #[cfg(feature = "tonic")]
        impl<S: tonic::server::NamedService, P> tonic::server::NamedService for $service<S, P> {
            const NAME: &'static str = S::NAME;
        }
    };
}
