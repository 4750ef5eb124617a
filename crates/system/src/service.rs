//! What the table says of one service.

use amqp::Topology;
use contracts::{EventType, ServiceName};
use runtime::config::OPERATIONS_PORT_OFFSET;
use serde::Serialize;
use strum::{Display, EnumString};

/// A program of the system, or one outside of it that the system needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// The name of the program; of its database, role and broker user, too, where it has them.
    pub name: &'static str,
    pub port: u16,
    /// The path that a person looks at first.
    pub path: &'static str,
    pub does: &'static str,
}

impl Program {
    /// Where it serves health and metrics when its environment does not say.
    pub const fn operations_port(self) -> u16 {
        self.port + OPERATIONS_PORT_OFFSET
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// From a queue of its own, bound to these.
    Queue(&'static [EventType]),
    /// All of them, from the event stream.
    EventStream,
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, strum::Display)]
#[strum(serialize_all = "kebab-case")]
pub enum Dependency {
    Database,
    Broker,
    PaymentProvider,
    MailServer,
}

impl Dependency {
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Database => "DATABASE_URL",
            Self::Broker => "AMQP_URL",
            Self::PaymentProvider => "PAYMENT_PROVIDER_URL",
            Self::MailServer => "SMTP_URL",
        }
    }
}

macro_rules! define {
    (
        services {$(
            $service:ident {
                name: $name:literal, code: $code:ident, port: $port:literal, path: $path:literal,
                does: $does:literal,
                reads: $reads:ident[$($event:ident),* $(,)?],
                needs: [$($need:ident),* $(,)?],
            }
        )+}
        outside {$(
            $outside:ident {
                name: $outside_name:literal, code: $outside_code:ident, port: $outside_port:literal,
                path: $outside_path:literal,
                does: $outside_does:literal,
            }
        )+}
    ) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Display, EnumString)]
        #[strum(parse_err_ty = UnknownService, parse_err_fn = UnknownService::named)]
        pub enum Service {$(
            #[doc = concat!("`", $name, "`: ", $does, ".")]
            #[serde(rename = $name)]
            #[strum(serialize = $name)]
            $service,
        )+}

        /// A program that the system needs and does not consist of.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Outside {$(
            #[doc = concat!("`", $outside_name, "`: ", $outside_does, ".")]
            $outside,
        )+}

        impl Service {
            /// Every service, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$service,)+];

            pub const fn program(self) -> Program {
                match self {$(
                    Self::$service => Program { name: $name, port: $port, path: $path, does: $does },
                )+}
            }

            pub const fn reads(self) -> Reads {
                match self { $(Self::$service => reads!($reads $($event)*),)+ }
            }

            pub const fn needs(self) -> &'static [Dependency] {
                match self { $(Self::$service => &[$(Dependency::$need,)*],)+ }
            }

            /// Where it serves HTTP when its environment does not say.
            pub const fn listen(self) -> &'static str {
                match self { $(Self::$service => concat!("0.0.0.0:", $port),)+ }
            }
        }

        impl Outside {
            /// Every one, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$outside,)+];

            pub const fn program(self) -> Program {
                match self {$(
                    Self::$outside => Program {
                        name: $outside_name, port: $outside_port, path: $outside_path, does: $outside_does,
                    },
                )+}
            }
        }
    };
}

macro_rules! reads {
    (Queue $($event:ident)*) => { Reads::Queue(&[$(EventType::$event,)*]) };
    (EventStream) => { Reads::EventStream };
    (Nothing) => { Reads::Nothing };
}

crate::services!(define);

impl Service {
    pub const fn as_str(self) -> &'static str {
        self.program().name
    }

    /// The events that its queue is bound to; none for a service without a queue.
    pub const fn subscriptions(self) -> &'static [EventType] {
        match self.reads() {
            Reads::Queue(events) => events,
            Reads::EventStream | Reads::Nothing => &[],
        }
    }

    pub fn routing_keys(self) -> Vec<&'static str> {
        self.subscriptions().iter().map(|event| event.name()).collect()
    }

    /// What it subscribes to, and the topology that it expects of the broker.
    pub fn on_broker(self) -> (Vec<&'static str>, Topology) {
        (self.routing_keys(), crate::topology())
    }

    pub const fn has_queue(self) -> bool {
        matches!(self.reads(), Reads::Queue(_))
    }

    pub fn has_database(self) -> bool {
        self.needs().contains(&Dependency::Database)
    }

    /// Whether it calls what belongs to somebody else.
    pub fn calls_outside(self) -> bool {
        self.needs().iter().any(|need| matches!(need, Dependency::PaymentProvider | Dependency::MailServer))
    }

    pub fn with_queue() -> impl Iterator<Item = Self> + Clone {
        Self::ALL.iter().copied().filter(|service| service.has_queue())
    }

    pub fn with_database() -> impl Iterator<Item = Self> + Clone {
        Self::ALL.iter().copied().filter(|service| service.has_database())
    }
}

/// Every program: the services, then what stands outside.
pub fn programs() -> impl Iterator<Item = Program> + Clone {
    let services = Service::ALL.iter().map(|service| service.program());
    services.chain(Outside::ALL.iter().map(|outside| outside.program()))
}

impl From<Service> for ServiceName {
    fn from(service: Service) -> Self {
        Self::new(service.as_str())
    }
}

impl PartialEq<Service> for ServiceName {
    fn eq(&self, other: &Service) -> bool {
        self.as_str() == other.as_str()
    }
}

/// A text that is no service's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a service")]
pub struct UnknownService(String);

impl UnknownService {
    fn named(text: &str) -> Self {
        Self(text.to_owned())
    }
}
