//! What the table says of one service.

use std::{fmt, str::FromStr};

use contracts::{EventType, ServiceName};
use serde::{Serialize, Serializer};

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// From a queue of its own, bound to these.
    Queue(&'static [EventType]),
    /// All of them, from the event stream.
    EventStream,
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependency {
    Database,
    Broker,
    PaymentProvider,
    MailServer,
}

impl Dependency {
    /// The environment variable that says where it is.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Database => "DATABASE_URL",
            Self::Broker => "AMQP_URL",
            Self::PaymentProvider => "PAYMENT_PROVIDER_URL",
            Self::MailServer => "SMTP_URL",
        }
    }

    /// Whether it belongs to somebody else.
    #[must_use]
    pub const fn is_outside(self) -> bool {
        matches!(self, Self::PaymentProvider | Self::MailServer)
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Database => "database",
            Self::Broker => "broker",
            Self::PaymentProvider => "payment-provider",
            Self::MailServer => "mail-server",
        })
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
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Service {$(
            #[doc = concat!("`", $name, "`: ", $does, ".")]
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

            #[must_use]
            pub const fn program(self) -> Program {
                match self {$(
                    Self::$service => Program { name: $name, port: $port, path: $path, does: $does },
                )+}
            }

            #[must_use]
            pub const fn reads(self) -> Reads {
                match self { $(Self::$service => reads!($reads $($event)*),)+ }
            }

            #[must_use]
            pub const fn needs(self) -> &'static [Dependency] {
                match self { $(Self::$service => &[$(Dependency::$need,)*],)+ }
            }

            /// Where it serves HTTP when its environment does not say.
            #[must_use]
            pub const fn listen(self) -> &'static str {
                match self { $(Self::$service => concat!("0.0.0.0:", $port),)+ }
            }
        }

        impl Outside {
            /// Every one, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$outside,)+];

            #[must_use]
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
    /// Its name: of its program, database, role and broker user.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.program().name
    }

    /// The events that its queue is bound to; none for a service without a queue.
    #[must_use]
    pub const fn subscriptions(self) -> &'static [EventType] {
        match self.reads() {
            Reads::Queue(events) => events,
            Reads::EventStream | Reads::Nothing => &[],
        }
    }

    /// The routing keys that its queue is bound to.
    #[must_use]
    pub fn routing_keys(self) -> Vec<&'static str> {
        self.subscriptions().iter().map(|event| event.name()).collect()
    }

    /// Whether it consumes events from a queue of its own.
    #[must_use]
    pub const fn has_queue(self) -> bool {
        matches!(self.reads(), Reads::Queue(_))
    }

    /// Whether it has a database of its own.
    #[must_use]
    pub fn has_database(self) -> bool {
        self.needs().contains(&Dependency::Database)
    }

    /// Whether it calls what belongs to somebody else.
    #[must_use]
    pub fn calls_outside(self) -> bool {
        self.needs().iter().any(|need| need.is_outside())
    }

    /// The services that consume events from a queue.
    pub fn with_queue() -> impl Iterator<Item = Self> + Clone {
        Self::ALL.iter().copied().filter(|service| service.has_queue())
    }

    /// The services with a database of their own.
    pub fn with_database() -> impl Iterator<Item = Self> + Clone {
        Self::ALL.iter().copied().filter(|service| service.has_database())
    }
}

/// Every program: the services, then what stands outside.
pub fn programs() -> impl Iterator<Item = Program> + Clone {
    let services = Service::ALL.iter().map(|service| service.program());
    services.chain(Outside::ALL.iter().map(|outside| outside.program()))
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Service {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
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

impl FromStr for Service {
    type Err = UnknownService;

    fn from_str(text: &str) -> Result<Self, UnknownService> {
        let found = Self::ALL.iter().copied().find(|service| service.as_str() == text);
        found.ok_or_else(|| UnknownService(text.to_owned()))
    }
}
