//! Many tasks at a policy that is not in its happy state: nobody is stuck, and nothing is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use buttress::{
    BoxError, BulkheadLayer, CircuitBreakerLayer, FaultLayer, RateLimitLayer,
    bulkhead::WhenFull,
    circuit_breaker::{State, WhenOpen},
};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use tower::{Service, ServiceBuilder, ServiceExt};

const TASKS: usize = 64;
const FOR: Duration = Duration::from_secs(1);
/// Far more than a task needs to notice that the second is over.
const STUCK: Duration = Duration::from_secs(20);

/// What the tasks hammer at: gives way now and then, and fails while it is told to.
#[derive(Debug, Clone, Default)]
struct Anvil {
    failing: Arc<AtomicBool>,
    inside: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Anvil {
    async fn call(self, number: u64) -> Result<(), BoxError> {
        let inside = self.inside.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(inside, SeqCst);
        let leave = Leave(&self.inside);
        for _ in 0..number % 4 {
            tokio::task::yield_now().await;
        }
        drop(leave);
        if self.failing.load(SeqCst) { Err("failing".into()) } else { Ok(()) }
    }
}

/// Leaves also when the call is dropped half-way.
struct Leave<'a>(&'a AtomicUsize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Hammers for a second, dropping every seventh call half-way, and returns how many calls there were.
async fn hammer<S>(service: S) -> u64
where
    S: Service<u64, Response = (), Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
{
    let until = Instant::now() + FOR;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS as u64 {
        let service = service.clone();
        tasks.spawn(async move {
            let mut calls = 0;
            while Instant::now() < until {
                let call = service.clone().oneshot(task + calls);
                if calls % 7 == 0 {
                    let _ = timeout(Duration::from_millis(1), call).await;
                } else {
                    let _ = call.await;
                }
                calls += 1;
                tokio::task::yield_now().await;
            }
            calls
        });
    }
    let calls = timeout(STUCK, tasks.join_all()).await.expect("somebody is stuck");
    calls.iter().sum()
}

macro_rules! anvil {
    ($layer:expr, $anvil:expr) => {{
        let anvil = $anvil.clone();
        ServiceBuilder::new().layer($layer).service(tower::service_fn(move |number| anvil.clone().call(number)))
    }};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_stuck_at_an_open_breaker() {
    let layer = CircuitBreakerLayer::new("hammered");
    layer.handle().force_open();
    let calls = hammer(anvil!(layer.clone(), Anvil::default())).await;
    assert_eq!(layer.handle().snapshot().refused, calls);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_stuck_at_a_half_open_breaker_and_no_probe_is_lost() {
    for when_open in [WhenOpen::Reject, WhenOpen::Pause] {
        let anvil = Anvil::default();
        anvil.failing.store(true, SeqCst);
        let layer = CircuitBreakerLayer::new("hammered")
            .consecutive_failures(1)
            .open_for(Duration::from_millis(2))
            .open_at_most(Duration::from_millis(4))
            .half_open_calls(3)
            .when_open(when_open);
        let breaker = layer.handle();
        let service = anvil!(layer, anvil);
        hammer(service.clone()).await;
        assert!(breaker.snapshot().opened > 10, "{when_open:?}: it was half-open only {:?}", breaker.snapshot());
        assert_eq!(breaker.snapshot().probes_in_flight, 0, "{when_open:?}");

        // And once the service is well, the breaker closes.
        anvil.failing.store(false, SeqCst);
        let heal = async {
            while breaker.state() != State::Closed {
                let _ = service.clone().oneshot(0).await;
                tokio::task::yield_now().await;
            }
        };
        timeout(STUCK, heal).await.expect("the breaker never closes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_stuck_at_a_full_bulkhead_and_no_permit_is_lost() {
    let reject = BulkheadLayer::new("hammered").max_concurrent(2);
    let queue = BulkheadLayer::new("hammered").max_concurrent(2).max_wait(Duration::from_millis(5)).max_queue(20);
    let pause = BulkheadLayer::new("hammered").max_concurrent(2).when_full(WhenFull::Pause);
    for layer in [reject, queue, pause] {
        let anvil = Anvil::default();
        hammer(anvil!(layer.clone(), anvil)).await;
        let snapshot = layer.handle().snapshot();
        assert_eq!((snapshot.in_flight, snapshot.waiting), (0, 0), "{snapshot:?}");
        assert_eq!(anvil.most.load(SeqCst), 2, "{snapshot:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_stuck_at_a_rate_limit_that_is_used_up_and_it_is_never_exceeded() {
    let (limit, second) = (2_000, Duration::from_secs(1));
    let reject = RateLimitLayer::new("hammered").limit(limit, second).burst(10);
    let wait = RateLimitLayer::new("hammered").limit(limit, second).burst(10).max_wait(second / 50).max_queue(40);
    for layer in [reject, wait] {
        let started = Instant::now();
        let calls = hammer(anvil!(layer.clone(), Anvil::default())).await;
        let earned = started.elapsed().as_secs_f64() * f64::from(limit);
        let snapshot = layer.handle().snapshot();
        assert_eq!(snapshot.waiting, 0, "{snapshot:?}");
        assert!(snapshot.allowed as f64 <= 10.0 + earned, "{snapshot:?}, of {earned}");
        // What was dropped while it waited is neither.
        assert!(snapshot.allowed + snapshot.refused <= calls, "{snapshot:?}, of {calls}");
        assert!(snapshot.allowed > 100, "{snapshot:?}, of {calls}");
        // And nothing sticks: all that is earned is there again.
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(layer.handle().snapshot().available, 10);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_stuck_at_faults_that_end_and_every_call_is_counted_once() {
    let layer = FaultLayer::new("hammered").fail(0.2).fail_after(0.2).delay(0.2, Duration::from_micros(100));
    println!("seed {}", layer.handle().seed());
    let calls = hammer(anvil!(layer.clone(), Anvil::default())).await;
    let snapshot = layer.handle().snapshot();
    assert_eq!(snapshot.calls, calls);
    assert!(snapshot.failed > 0 && snapshot.failed_after > 0 && snapshot.delayed > 0, "{snapshot:?}");
}
