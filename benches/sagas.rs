//! What a saga costs, from its first step to its commit, on the disk under the working directory's `target`.
//!
//! `cargo bench -p buttress --bench sagas`

use std::{
    convert::Infallible,
    fs::{self, File},
    io::Write,
    path::PathBuf,
    time::Duration,
};

use buttress::{
    BoxError, SagaLayer,
    saga::{Call, Coordinator, Saga, SagaError},
    step::StepKey,
};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::Full;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};

const UNDO: Call<StepKey> = Call::new("bench.undo");
/// How long each figure is measured for.
const FOR: Duration = Duration::from_secs(4);
const STEPS: u32 = 3;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), BoxError> {
    let folder = PathBuf::from("target").join(format!("bench-sagas-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let measured = measure(&folder).await;
    fs::remove_dir_all(&folder)?;
    measured
}

async fn measure(folder: &std::path::Path) -> Result<(), BoxError> {
    println!("sagas of {STEPS} steps, SQLite with synchronous=FULL, {} cores", std::thread::available_parallelism()?);
    let wait = one_wait(folder)?;
    println!("one wait for the disk (8 KiB appended, fdatasync): {}", micros(wait));

    let coordinator = start(folder.join("sagas.db")).await?;
    let alone = at_once(&coordinator, 1).await;
    let waits = f64::from(STEPS + 1);
    println!(
        "one saga at a time: {}, which is {:.2} of {waits} waits of the bare disk; {} of CPU",
        micros(alone.each),
        alone.each.as_secs_f64() / (wait.as_secs_f64() * waits),
        micros(alone.cpu),
    );
    println!("{:>10} {:>12} {:>14} {:>10} {:>12}", "in flight", "sagas/s", "step records/s", "to one", "CPU a saga");
    for in_flight in [1, 16, 256] {
        let measured = at_once(&coordinator, in_flight).await;
        // An intent and a result a step, and the commit and the end.
        let records = measured.rate * f64::from(2 * STEPS + 2);
        println!(
            "{in_flight:>10} {:>12.0} {records:>14.0} {:>10.1} {:>12}",
            measured.rate,
            measured.rate * alone.each.as_secs_f64(),
            micros(measured.cpu),
        );
    }
    coordinator.drain(Duration::from_secs(10)).await?;

    let coordinator = start(folder.join("routes.db")).await?;
    let bare = service_fn(answer);
    let layered = SagaLayer::http(&coordinator, "bench").layer(bare);
    // On a worker, where a server's connections are.
    let (bare, layered) = (tokio::spawn(a_call(bare)).await?, tokio::spawn(a_call(layered)).await?);
    println!("a route that runs no step: {} a call, {} without the layer", micros(layered), micros(bare));
    coordinator.drain(Duration::from_secs(10)).await?;
    Ok(())
}

struct Measured {
    /// Sagas a second.
    rate: f64,
    each: Duration,
    cpu: Duration,
}

async fn start(file: PathBuf) -> Result<Coordinator, BoxError> {
    let undo = service_fn(async |_: StepKey| Ok::<_, BoxError>(()));
    Ok(Coordinator::sqlite(file).on(UNDO, undo).start().await?)
}

/// The median of what the disk takes to make an append durable.
fn one_wait(folder: &std::path::Path) -> std::io::Result<Duration> {
    let mut file = File::create(folder.join("wait"))?;
    let mut took = Vec::new();
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        let begun = Instant::now();
        file.write_all(&[7; 8192])?;
        file.sync_data()?;
        took.push(begun.elapsed());
    }
    took.sort();
    Ok(took[took.len() / 2])
}

async fn at_once(coordinator: &Coordinator, in_flight: usize) -> Measured {
    let (cpu, begun) = (cpu(), Instant::now());
    let until = begun + FOR;
    let lanes = (0..in_flight).map(|_| {
        let coordinator = coordinator.clone();
        tokio::spawn(async move {
            let mut sagas = 0_u32;
            while Instant::now() < until {
                coordinator.scope("bench", three_steps).await.expect("nothing fails");
                sagas += 1;
            }
            sagas
        })
    });
    let sagas: u32 = join_all(lanes).await.into_iter().map(|lane| lane.expect("it doesn't panic")).sum();
    let took = begun.elapsed();
    let spent = self::cpu().saturating_sub(cpu);
    Measured { rate: f64::from(sagas) / took.as_secs_f64(), each: took / sagas.max(1), cpu: spent / sagas.max(1) }
}

async fn three_steps(saga: Saga) -> Result<(), SagaError> {
    for _ in 0..STEPS {
        saga.step("step").undo(UNDO, StepKey::clone).run(async |_| Ok::<_, BoxError>(())).await?;
    }
    Ok(())
}

async fn answer(_: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::default()))
}

async fn a_call<S, R>(service: S) -> Duration
where
    S: Service<Request<Full<Bytes>>, Response = R, Error = Infallible, Future: Send> + Clone + Send,
{
    let begun = Instant::now();
    let mut calls = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        for _ in 0..100 {
            let answered = service.clone().oneshot(Request::new(Full::default())).await;
            drop(answered.unwrap_or_else(|never| match never {}));
        }
        calls += 100;
    }
    begun.elapsed() / calls
}

/// What this process has spent of its cores.
fn cpu() -> Duration {
    // Fields 14 and 15 of proc(5), in ticks of 10 ms; the second field ends with the last bracket.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn micros(duration: Duration) -> String {
    format!("{:.1} us", duration.as_secs_f64() * 1e6)
}
