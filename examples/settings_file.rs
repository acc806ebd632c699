//! Settings from a file, overlaid by the environment, and applied while the service runs.
//!
//! ```text
//! PAYMENTS__TIMEOUT__WITHIN=4s cargo run --example settings_file -- payments.toml
//! ```

use std::{env, fs, time::Duration};

use buttress::{BoxError, settings, standard};
use toml::{Table, Value};
use tower::{Service, ServiceBuilder, ServiceExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let path = env::args().nth(1).ok_or("which file? it has a table [payments]")?;
    let layer = standard::new("payments").rate_limit(|limit| limit);
    let stack = layer.handles();
    let mut payments = ServiceBuilder::new().layer(layer).service_fn(async |cents: u32| Ok::<_, BoxError>(cents));
    let mut seen = fs::read_to_string(&path)?;
    apply(&seen, &stack)?;
    let mut applied = seen.clone();
    println!("running; edit {path}");
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        payments.ready().await?.call(19_99).await?;
        // A file that isn't there is being replaced, and one that two looks don't find the same is being written.
        let Ok(now) = fs::read_to_string(&path) else { continue };
        if now == seen && now != applied {
            match apply(&now, &stack) {
                Ok(()) => println!("applied; the breaker still knows {} calls", stack.circuit_breaker.snapshot().calls),
                Err(error) => println!("the old settings stay: {error}"),
            }
            applied.clone_from(&now);
        }
        seen = now;
    }
}

fn apply(file: &str, stack: &standard::Handles) -> Result<(), BoxError> {
    let mut file = Value::Table(file.parse()?);
    for (name, value) in env::vars().filter(|(name, _)| name.starts_with("PAYMENTS__")) {
        let (path, table) = (name.to_lowercase(), || Value::from(Table::new()));
        let setting =
            path.split("__").try_fold(&mut file, |at, name| Some(at.as_table_mut()?.entry(name).or_insert_with(table)));
        *setting.ok_or(format!("{name}: the file has a value there"))? = value.parse().unwrap_or(value.into());
    }
    let before = Value::try_from(stack.config())?;
    stack.reconfigure(settings::read("payments", file.get("payments").ok_or("there is no [payments]")?.clone())?)?;
    tell("payments", Some(&before), &Value::try_from(stack.config())?);
    Ok(())
}

fn tell(path: &str, before: Option<&Value>, after: &Value) {
    if let (Some(Value::Table(before)), Value::Table(after)) = (before, after) {
        after.iter().for_each(|(name, after)| tell(&format!("{path}.{name}"), before.get(name), after));
    } else if before != Some(after) {
        println!("{path}: {} -> {after}", before.map_or("unset".to_owned(), Value::to_string));
    }
}
