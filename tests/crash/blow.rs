//! One blow: somebody is killed, at a failpoint or at any time, and started again.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::{sleep, timeout};

use crate::{net::Weather, process::Started, role::Role, world::World};

/// Where somebody is killed, or hindered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// The coordinator dies at a failpoint.
    Coordinator(&'static str),
    /// It is killed while a participant stands still at one: what it asked for is under way.
    While(&'static str),
    /// The only order that is being placed loses it at its second step, or later: what came of the first is known by then.
    SecondStep,
    /// It dies at one when it starts again, so many times.
    Restarting(&'static str, u32),
    /// It is asked to drain, and dies over it, or doesn't.
    Drain,
    /// A participant dies at a failpoint.
    Participant(&'static str),
    /// A participant takes longer than it is waited for.
    Late,
    /// A participant refuses so many undos.
    Stubborn,
    /// Requests come twice, late, or their answers don't come; and somebody is killed.
    Weather(Weathered),
    /// Anybody is killed at any time.
    Random,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weathered {
    Twice,
    Late,
    Lost,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Struck {
    /// How often somebody was killed.
    pub(crate) kills: u32,
    /// Whether the place that was meant was reached.
    pub(crate) hit: bool,
}

/// How long a failpoint may take to be reached under load.
const REACHED: Duration = Duration::from_millis(2500);

impl Blow {
    /// What has to be seen to before anybody asks for anything; returns how many may ask at once.
    pub(crate) async fn prepare(self, world: &mut World, chance: &mut Rng) -> usize {
        match self {
            Self::SecondStep => {
                world.coordinator.tell(&format!("arm C3=abort@{}", chance.u32(2..=3))).await;
                1
            }
            // Where a blow needs something to be left over, there has to be something.
            Self::Restarting(..) => 24,
            _ => [1, 2, 24][chance.usize(..3)],
        }
    }

    /// Whether it can be struck more than once in a round.
    pub(crate) fn is_repeatable(self) -> bool {
        self != Self::SecondStep
    }

    pub(crate) fn needs_nets(self) -> bool {
        matches!(self, Self::Weather(_))
    }

    pub(crate) async fn strike(self, world: &mut World, at_once: usize, chance: &mut Rng) -> Struck {
        let visit = |chance: &mut Rng| chance.u64(1..=(at_once as u64).clamp(2, 12));
        let participant = if chance.bool() { Role::Stock } else { Role::Money };
        let mut struck = Struck { kills: 0, hit: true };
        match self {
            Self::Coordinator(point) => {
                world.coordinator.tell(&format!("arm {point}=abort@{}", visit(chance))).await;
                struck.hit = world.coordinator.dies(REACHED).await;
                world.coordinator.kill().await;
                struck.kills += 1;
            }
            Self::While(point) => {
                world.process(participant).tell(&format!("arm {point}=pause@{}", visit(chance))).await;
                struck.hit = world.process(participant).pauses(REACHED).await;
                world.coordinator.kill().await;
                struck.kills += 1;
                // What was under way goes on before the next coordinator begins, while it does, or in the middle of its work.
                match chance.u32(..3) {
                    0 => drop(world.process(participant).tell(&format!("release {point}")).await),
                    _ => {
                        world.coordinator.start("").await;
                        sleep(Duration::from_millis(chance.u64(..60))).await;
                        world.process(participant).tell(&format!("release {point}")).await;
                    }
                }
            }
            Self::SecondStep => {
                struck.hit = world.coordinator.dies(REACHED).await;
                world.coordinator.kill().await;
                struck.kills += 1;
            }
            Self::Restarting(point, times) => {
                sleep(Duration::from_millis(chance.u64(..40))).await;
                world.coordinator.kill().await;
                struck.kills += 1;
                for _ in 0..times {
                    let visit = if matches!(point, "C15" | "C16") { chance.u32(1..=2) } else { 1 };
                    let armed = format!("{point}=abort@{visit}");
                    let died = match world.coordinator.start(&armed).await {
                        Started::Died => true,
                        Started::Ready => world.coordinator.dies(REACHED).await,
                    };
                    struck.hit &= died;
                    world.coordinator.kill().await;
                    struck.kills += 1;
                }
            }
            Self::Drain => {
                sleep(Duration::from_millis(chance.u64(..40))).await;
                let dies = chance.u32(..3) > 0;
                if dies {
                    world.coordinator.tell("arm C21=abort").await;
                    struck.kills += 1;
                }
                world.coordinator.tell("drain").await;
                struck.hit = world.coordinator.dies(Duration::from_secs(8)).await;
            }
            Self::Participant(point) => {
                world.process(participant).tell(&format!("arm {point}=abort@{}", visit(chance))).await;
                struck.hit = world.process(participant).dies(REACHED).await;
                world.process(participant).kill().await;
                struck.kills += 1;
            }
            Self::Late => {
                world.process(participant).tell(&format!("arm inbound=pause:450@{}", visit(chance))).await;
                struck.hit = world.process(participant).pauses(REACHED).await;
                sleep(Duration::from_millis(chance.u64(250..600))).await;
                world.coordinator.kill().await;
                struck.kills += 1;
            }
            Self::Stubborn => {
                for role in [Role::Stock, Role::Money] {
                    world.process(role).tell(&format!("stubborn {}", chance.u32(1..6))).await;
                }
                sleep(Duration::from_millis(chance.u64(20..120))).await;
                world.coordinator.kill().await;
                struck.kills += 1;
            }
            Self::Weather(weathered) => {
                let (stock, money) = &world.nets;
                let weather = weathered.weather();
                stock.turns(weather);
                money.turns(weather);
                sleep(Duration::from_millis(chance.u64(50..250))).await;
                let victim = Role::ALL[chance.usize(..3)];
                world.process(victim).kill().await;
                struck.kills += 1;
            }
            Self::Random => {
                sleep(Duration::from_millis(chance.u64(..80))).await;
                let victim = Role::ALL[chance.usize(..3)];
                world.process(victim).kill().await;
                struck.kills += 1;
            }
        }
        if chance.u32(..5) == 0 {
            let another = Role::ALL[chance.usize(..3)];
            struck.kills += u32::from(world.process(another).is_running());
            world.process(another).kill().await;
        }
        self.revive(world, chance).await;
        struck
    }

    /// Starts whoever is dead, in any order, at once or after a while.
    async fn revive(self, world: &mut World, chance: &mut Rng) {
        let mut roles = Role::ALL;
        chance.shuffle(&mut roles);
        for role in roles {
            if !world.process(role).is_running() {
                sleep(Duration::from_millis(chance.u64(..30))).await;
                world.process(role).start("").await;
            }
        }
        let (stock, money) = &world.nets;
        stock.clears_up();
        money.clears_up();
        // Somebody may still stand where nobody came in time.
        for role in [Role::Stock, Role::Money] {
            for point in ["inbound", "P1", "P2"] {
                let _ = timeout(Duration::from_secs(1), world.process(role).tell(&format!("disarm {point}"))).await;
            }
        }
    }
}

impl Weathered {
    fn weather(self) -> Weather {
        match self {
            Self::Twice => Weather { duplicates: 0.5, ..Weather::default() },
            Self::Late => Weather { delays: (0.3, Duration::from_millis(700)), ..Weather::default() },
            Self::Lost => Weather { drops: 0.3, ..Weather::default() },
        }
    }
}
