//! Catches what is told.

use std::{
    collections::BTreeSet,
    fmt::Debug,
    sync::{Arc, Mutex},
};

use tracing::{
    Dispatch, Event, Subscriber,
    dispatcher::DefaultGuard,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
};

/// Catches this thread's events, and what spans are told, for as long as it lives.
pub(crate) struct Caught {
    pub(crate) told: Told,
    _default: DefaultGuard,
    /// With only one dispatcher, tracing would ask any thread's default whether anybody is interested.
    _another: Dispatch,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    events: Arc<Mutex<Vec<Said>>>,
    pub(crate) span: Arc<Mutex<Vec<String>>>,
}

/// An event: message, policy, level, and the names of its other fields.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Said {
    pub(crate) message: String,
    pub(crate) policy: String,
    pub(crate) level: String,
    pub(crate) fields: BTreeSet<String>,
}

impl Caught {
    pub(crate) fn from_here_on() -> Self {
        let told = Told::default();
        let subscriber = tracing_subscriber::registry().with(told.clone());
        let _another = Dispatch::new(tracing_subscriber::registry());
        Self { told, _default: tracing::subscriber::set_default(subscriber), _another }
    }

    pub(crate) fn events(&self) -> Vec<Said> {
        self.told.events.lock().unwrap().clone()
    }
}

impl<S: Subscriber> Layer<S> for Told {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if !event.metadata().target().starts_with("buttress::") {
            return;
        }
        let mut values = Values::default();
        event.record(&mut values);
        let names = event.metadata().fields().iter().map(|field| field.name().to_owned());
        let fields = names.filter(|name| !["message", "policy", "name"].contains(&&**name)).collect();
        let level = event.metadata().level().as_str().to_lowercase();
        let Values { message, policy, .. } = values;
        self.events.lock().unwrap().push(Said { message, policy, level, fields });
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let mut values = Values::default();
        attributes.record(&mut values);
        self.span.lock().unwrap().extend(values.all);
    }

    fn on_record(&self, _: &Id, record: &Record<'_>, _: Context<'_, S>) {
        let mut values = Values::default();
        record.record(&mut values);
        self.span.lock().unwrap().extend(values.all);
    }
}

#[derive(Default)]
struct Values {
    message: String,
    policy: String,
    all: Vec<String>,
}

impl Visit for Values {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "policy" => self.policy = format!("{value:?}").trim_matches('"').to_owned(),
            name => self.all.push(format!("{name}={value:?}")),
        }
    }
}
