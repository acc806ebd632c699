//! Settings as they stand in a file: read, refused, and written again.

mod defaults;
mod guide;
mod refused;
mod round_trip;

use buttress::{
    InvalidConfig,
    settings::{Settings, read},
};

/// The settings in this text, at `path`.
fn in_file<T: Settings>(path: &str, text: &str) -> Result<T, InvalidConfig> {
    let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
    read(path, table)
}
