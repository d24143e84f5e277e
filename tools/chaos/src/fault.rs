//! Faults, and how to inject them into a cluster.

use crate::Dice;
use crate::cluster::Cluster;
use crate::proxy::NetworkCondition;
use gateway::services::processes;
use std::fmt;
use std::time::Duration;
use tokio::time::sleep;

/// A fault that lasts for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Kill(&'static str, usize),
    Pause(&'static str, usize, Duration),
    Terminate(&'static str, usize),
    KillKafka,
    PauseKafka(Duration),
    RestartPostgres,
    PausePostgres(Duration),
    Network(&'static str, NetworkCondition, Duration),
}

impl Fault {
    /// Returns a random fault of a random process.
    pub fn random(dice: &mut Dice, replicas: usize) -> Self {
        let service = *dice.pick(&processes());
        let number = usize::try_from(dice.roll(replicas as u64)).unwrap_or_default();
        let time = Duration::from_millis(500 + dice.roll(2_000));
        match dice.roll(14) {
            0..=3 => Self::Kill(service, number),
            4 => Self::Pause(service, number, Duration::from_secs(5 + dice.roll(26))),
            12 => Self::PauseKafka(Duration::from_secs(1 + dice.roll(15))),
            13 => Self::PausePostgres(Duration::from_secs(1 + dice.roll(15))),
            5..=7 => Self::Terminate(service, number),
            8 => Self::KillKafka,
            9 => Self::RestartPostgres,
            _ => {
                let conditions = [
                    NetworkCondition::Refuse,
                    NetworkCondition::Hang,
                    NetworkCondition::Reset,
                    NetworkCondition::Delay(Duration::from_millis(100 + dice.roll(1_500))),
                ];
                Self::Network(service, *dice.pick(&conditions), time)
            }
        }
    }

    /// Injects the fault, and repairs it.
    pub async fn inject(self, cluster: &mut Cluster) -> anyhow::Result<()> {
        match self {
            Self::Kill(service, number) => {
                cluster.kill(service, number)?;
                sleep(Duration::from_millis(200)).await;
                cluster.start_replica(service, number)
            }
            Self::Pause(service, number, time) => cluster.pause(service, number, time).await,
            Self::Terminate(service, number) => {
                cluster.terminate(service, number).await?;
                cluster.start_replica(service, number)
            }
            Self::KillKafka => {
                cluster.servers.kill_kafka()?;
                cluster.servers.start_kafka()
            }
            Self::PauseKafka(time) => cluster.servers.pause_kafka(time).await,
            Self::PausePostgres(time) => cluster.servers.pause_postgres(time).await,
            Self::RestartPostgres => {
                cluster.servers.kill_postgres()?;
                cluster.servers.start_postgres()
            }
            Self::Network(service, condition, time) => {
                cluster.proxy(service).set(condition);
                sleep(time).await;
                cluster.proxy(service).set(NetworkCondition::Normal);
                Ok(())
            }
        }
    }

    /// Returns the kind of fault, as the table and `--only` name it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Kill(..) => "kill -9 of a service",
            Self::Pause(..) => "SIGSTOP of a service",
            Self::Terminate(..) => "SIGTERM of a service",
            Self::KillKafka => "kill -9 of Kafka",
            Self::PauseKafka(_) => "SIGSTOP of Kafka",
            Self::RestartPostgres => "immediate restart of Postgres",
            Self::PausePostgres(_) => "SIGSTOP of Postgres",
            Self::Network(_, NetworkCondition::Refuse, _) => "connections refused",
            Self::Network(_, NetworkCondition::Hang, _) => "connections that hang",
            Self::Network(_, NetworkCondition::Reset, _) => "connections cut in mid-answer",
            Self::Network(..) => "slow answers",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(service, number) | Self::Terminate(service, number) => {
                write!(f, "{} ({service} {number})", self.kind())
            }
            Self::Pause(service, number, time) => {
                write!(f, "{} ({service} {number}, {time:?})", self.kind())
            }
            Self::Network(service, _, time) => write!(f, "{} ({service}, {time:?})", self.kind()),
            Self::PauseKafka(time) | Self::PausePostgres(time) => {
                write!(f, "{} ({time:?})", self.kind())
            }
            Self::KillKafka | Self::RestartPostgres => f.write_str(self.kind()),
        }
    }
}
