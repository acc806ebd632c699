//! How a plan of faults is written in a file.

use std::fmt;

use http::StatusCode;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Unexpected, Visitor},
};

use crate::{
    config::text::{or_off, read_or, write_or},
    fault::config::Fault,
    protocol::grpc::Code,
};

/// A number, or `"drawn"`. TOML's integers end at 2^63, so a larger one is written as text.
pub(super) mod seed {
    use super::*;

    const DRAWN: &str = "drawn";

    struct Seed(u64);

    pub(crate) fn serialize<S: Serializer>(seed: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
        write_or(DRAWN, &seed.map(Seed), to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        Ok(read_or::<Seed, D>(DRAWN, from)?.map(|Seed(seed)| seed))
    }

    impl Serialize for Seed {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            if i64::try_from(self.0).is_ok() { to.serialize_u64(self.0) } else { to.collect_str(&self.0) }
        }
    }

    impl<'de> Deserialize<'de> for Seed {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_any(Number).map(Self)
        }
    }

    struct Number;

    impl Visitor<'_> for Number {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a number from 0 to 2^64 - 1, or {DRAWN:?}")
        }

        fn visit_u64<E>(self, seed: u64) -> Result<u64, E> {
            Ok(seed)
        }

        fn visit_i64<E: de::Error>(self, seed: i64) -> Result<u64, E> {
            u64::try_from(seed).map_err(|_| E::invalid_value(Unexpected::Signed(seed), &self))
        }

        fn visit_str<E: de::Error>(self, seed: &str) -> Result<u64, E> {
            seed.parse().map_err(|_| E::invalid_value(Unexpected::Str(seed), &self))
        }
    }
}

/// What goes wrong with each call, `"none"` for nothing; or `"off"`.
pub(super) mod script {
    use super::*;

    struct Entry(Option<Fault>);

    pub(crate) fn serialize<S: Serializer>(script: &Option<Vec<Option<Fault>>>, to: S) -> Result<S::Ok, S::Error> {
        let script = script.as_ref().map(|script| script.iter().map(|fault| Entry(*fault)).collect::<Vec<_>>());
        or_off::serialize(&script, to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Option<Fault>>>, D::Error> {
        let script = or_off::deserialize::<Vec<Entry>, D>(from)?;
        Ok(script.map(|script| script.into_iter().map(|Entry(fault)| fault).collect()))
    }

    impl Serialize for Entry {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            write_or("none", &self.0, to)
        }
    }

    impl<'de> Deserialize<'de> for Entry {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            read_or("none", from).map(Self)
        }
    }
}

/// An HTTP status, by its number.
pub(super) mod status {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u16(status.as_u16())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<StatusCode, D::Error> {
        let status = u16::deserialize(from)?;
        StatusCode::from_u16(status)
            .map_err(|_| de::Error::invalid_value(Unexpected::Unsigned(status.into()), &"an HTTP status, 400 to 599"))
    }
}

/// A gRPC status code, by gRPC's name for it.
pub(super) mod code {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(code: &Code, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(code)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Code, D::Error> {
        let name = String::deserialize(from)?;
        let code = (0..=16).map(Code::of_number).find(|code| code.to_string() == name);
        let expected = "the name of a gRPC status code, as in \"UNAVAILABLE\"";
        code.ok_or_else(|| de::Error::invalid_value(Unexpected::Str(&name), &expected))
    }
}
