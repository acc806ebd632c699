//! Settings from a file, overlaid by the environment, and applied while the service runs.
//!
//! ```text
//! PAYMENTS__TIMEOUT__WITHIN=4s cargo run --example settings_file -- payments.toml
//! ```

use std::{env, fs, time::Duration};

use buttress::{
    BoxError,
    protocol::Plain,
    settings,
    standard::{StandardConfig, StandardLayer},
};
use toml::{Table, Value};
use tower::{Service, ServiceBuilder, ServiceExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let path = env::args().nth(1).ok_or("which file?")?;
    let mut applied = fs::read_to_string(&path)?;
    let mut seen = applied.clone();
    let config = read(&applied)?;
    print_changes("payments", Some(&Value::try_from(StandardConfig::default())?), &Value::try_from(&config)?);
    let layer = StandardLayer::from_config("payments", config, Plain::default())?;
    let handles = layer.handles();
    let mut payments = ServiceBuilder::new().layer(layer).service_fn(async |cents: u32| Ok::<_, BoxError>(cents));
    println!("running; edit {path}");

    let mut looks = tokio::time::interval(Duration::from_millis(50));
    loop {
        looks.tick().await;
        payments.ready().await?.call(19_99).await?;
        // What the file says, not when it was written: editors replace files, and clocks are coarse. A file that isn't
        // there is being replaced, and one that two looks don't find the same is being written.
        let Ok(now) = fs::read_to_string(&path) else { continue };
        if now == seen && now != applied {
            let before = Value::try_from(handles.config())?;
            match read(&now).and_then(|config| Ok(handles.reconfigure(config)?)) {
                Ok(()) => {
                    print_changes("payments", Some(&before), &Value::try_from(handles.config())?);
                    println!("applied; the breaker still knows {} calls", handles.circuit_breaker.snapshot().calls);
                }
                Err(error) => println!("the old settings stay: {error}"),
            }
            applied = now.clone();
        }
        seen = now;
    }
}

fn read(text: &str) -> Result<StandardConfig, BoxError> {
    let mut file: Table = text.parse()?;
    for (name, value) in env::vars().filter(|(name, _)| name.starts_with("PAYMENTS__")) {
        let name = name.to_lowercase();
        let mut path: Vec<_> = name.split("__").collect();
        let setting = path.pop().ok_or("a variable without a name")?;
        let table = path.iter().try_fold(&mut file, |table, name| {
            table.entry(*name).or_insert_with(|| Table::new().into()).as_table_mut()
        });
        let table = table.ok_or_else(|| format!("{name}: the file has a value where this has a table"))?;
        table.insert(setting.to_owned(), value.parse().unwrap_or(Value::String(value)));
    }
    Ok(settings::read("payments", file.remove("payments").ok_or("there is no [payments]")?)?)
}

fn print_changes(path: &str, before: Option<&Value>, after: &Value) {
    match after {
        Value::Table(table) => table.iter().for_each(|(name, after)| {
            print_changes(&format!("{path}.{name}"), before.and_then(|before| before.get(name)), after)
        }),
        after if before == Some(after) => {}
        after => println!("{path}: {} -> {after}", before.map_or("none".to_owned(), Value::to_string)),
    }
}
