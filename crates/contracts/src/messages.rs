//! How a system declares its messages: one table, made by [`messages!`](crate::messages!).

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use uuid::Uuid;

use crate::{error::DecodeError, value::OrderId, value::Sku};

/// The name of a service, as in `source`, queue names and database roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ServiceName(&'static str);

impl ServiceName {
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What the table says about one event, beside its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Without the version; also the routing key.
    pub name: &'static str,
    /// The version of its shape, counted from 1.
    pub version: u32,
    /// Name and version, as in the envelope: `order.placed.v1`.
    pub versioned_name: &'static str,
    /// The only service that may publish it.
    pub owner: ServiceName,
    /// Whether it is kept for the record: no service needs to subscribe to it.
    pub record_only: bool,
}

/// Reads the data of an earlier (or later) version of an event as an event of this build.
pub type Upcaster<E> = fn(&str) -> serde_json::Result<E>;

/// The events of one system. [`messages!`](crate::messages!) implements it.
pub trait EventSet: fmt::Debug + Clone + Serialize + Send + Sync + 'static {
    /// The earlier versions that this build still reads.
    const UPCASTERS: &'static [(&'static str, u32, Upcaster<Self>)];

    fn row(&self) -> &'static Row;

    /// What the event is about.
    fn subject(&self) -> &dyn Subject;

    /// Reads the data of the version that this build writes; none when there is no such event.
    fn from_json(name: &str, version: u32, data: &str) -> Option<serde_json::Result<Self>>;
}

/// What an event can be about. Its text is the envelope's `subject`.
pub trait Subject: fmt::Display {
    /// The id that all events of one business process share.
    fn correlation_id(&self) -> Option<Uuid> {
        None
    }
}

impl Subject for Sku {}

impl Subject for OrderId {
    fn correlation_id(&self) -> Option<Uuid> {
        Some(self.0)
    }
}

impl Subject for Uuid {
    fn correlation_id(&self) -> Option<Uuid> {
        Some(*self)
    }
}

/// Which versions of which events can be read. A value, so that a test can know more versions than the build does.
#[derive(Debug, Clone)]
pub struct Versions<E> {
    upcasters: BTreeMap<(&'static str, u32), Upcaster<E>>,
}

impl<E: EventSet> Versions<E> {
    /// What this build reads: the table's own versions and the earlier ones that it has upcasters for.
    pub fn current() -> Self {
        let known = Self { upcasters: BTreeMap::new() };
        E::UPCASTERS
            .iter()
            .fold(known, |known, (name, version, upcaster)| known.with(name, *version, *upcaster))
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, version: u32, upcaster: Upcaster<E>) -> Self {
        self.upcasters.insert((name, version), upcaster);
        self
    }

    /// Reads the data of an event. [`DecodeError::Unsupported`] for an event or a version that is not in the table,
    /// [`DecodeError::Data`] when the data is not of that version's shape.
    pub fn decode(&self, name: &str, version: u32, data: &str) -> Result<E, DecodeError> {
        E::from_json(name, version, data)
            .or_else(|| Some(self.upcasters.get(&(name, version))?(data)))
            .ok_or_else(|| DecodeError::Unsupported(format!("{name}.v{version}")))?
            .map_err(|error| DecodeError::Data(format!("{name}.v{version}"), error))
    }
}

impl<E: EventSet> Default for Versions<E> {
    fn default() -> Self {
        Self::current()
    }
}

/// Declares the events of a system: `messages!(pub EVENT, TYPE; rows)` makes a struct for each row, the enum `EVENT`
/// of all of them, which is an [`EventSet`](crate::EventSet), and the enum `TYPE` of their names.
///
/// A row gives the struct, the event's name, version and owner, and the field that it is about, whose type is a
/// [`Subject`](crate::Subject). `record_only` marks an event that no service needs to subscribe to. When the shape
/// changes in a way that old readers or old data could not bear, the version goes up, and `(reads 1 with FUNCTION)`
/// names the [`Upcaster`](crate::Upcaster) of the version before.
///
/// ```
/// contracts::messages! {
///     pub Event, EventType;
///
///     /// Somebody said hello.
///     Greeted = "greeting.said" version 2 (reads 1 with greeted_v1), owner "greeter", subject id {
///         id: uuid::Uuid,
///         /// In the language of `locale`.
///         text: String,
///         locale: String,
///     }
/// }
///
/// fn greeted_v1(data: &str) -> serde_json::Result<Event> {
///     #[derive(serde::Deserialize)]
///     struct V1 {
///         id: uuid::Uuid,
///         text: String,
///     }
///     let V1 { id, text } = strict_json::from_str(data)?;
///     Ok(Greeted { id, text, locale: "en".to_owned() }.into())
/// }
///
/// let old = r#"{"id": "01900000-0000-7000-8000-000000000001", "text": "hello"}"#;
/// let read = contracts::Versions::<Event>::current().decode("greeting.said", 1, old)?;
/// assert_eq!(read.event_type().row().versioned_name, "greeting.said.v2");
/// # Ok::<(), contracts::DecodeError>(())
/// ```
#[macro_export]
macro_rules! messages {
    (
        $visibility:vis $event:ident, $event_type:ident;
        $(
            $(#[$doc:meta])*
            $variant:ident = $name:literal version $version:literal $((reads $earlier:literal with $upcaster:path))*,
                owner $owner:literal, subject $subject:ident $(, $flag:ident)? {
                $($(#[$field_doc:meta])* $field:ident: $field_type:ty,)*
            }
        )+
    ) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq, Hash, $crate::serde::Serialize, $crate::serde::Deserialize)]
            #[serde(crate = "::contracts::serde")]
            $visibility struct $variant {
                $($(#[$field_doc])* pub $field: $field_type,)*
            }

            impl From<$variant> for $event {
                fn from(data: $variant) -> Self {
                    Self::$variant(data)
                }
            }
        )+

        /// An event with its data. Serializes as the data alone; the type stands in the envelope.
        #[derive(Debug, Clone, PartialEq, Eq, Hash, $crate::serde::Serialize)]
        #[serde(crate = "::contracts::serde", untagged)]
        $visibility enum $event {
            $($variant($variant),)+
        }

        /// Shown and parsed as its name without the version.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive($crate::strum::Display, $crate::strum::EnumString)]
        #[strum(crate = "::contracts::strum")]
        #[strum(parse_err_ty = ::contracts::InvalidValue, parse_err_fn = ::contracts::InvalidValue::unknown_event)]
        $visibility enum $event_type {
            $(#[doc = concat!("`", $name, "`")] #[strum(serialize = $name)] $variant,)+
        }

        #[allow(dead_code)]
        impl $event_type {
            /// Every event, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];
            const ROWS: &[$crate::Row] = &[$($crate::Row {
                name: $name,
                version: $version,
                versioned_name: concat!($name, ".v", $version),
                owner: $crate::ServiceName::new($owner),
                record_only: $crate::messages!(@flag $($flag)?),
            },)+];

            pub const fn row(self) -> &'static $crate::Row {
                &Self::ROWS[self as usize]
            }

            /// Its name without the version, which is also its routing key: `order.placed`.
            pub const fn name(self) -> &'static str {
                self.row().name
            }

            /// The only service that may publish it.
            pub const fn owner(self) -> $crate::ServiceName {
                self.row().owner
            }

        }

        impl $event {
            $visibility fn event_type(&self) -> $event_type {
                match self { $(Self::$variant(_) => $event_type::$variant,)+ }
            }
        }

        impl $crate::EventSet for $event {
            const UPCASTERS: &'static [(&'static str, u32, $crate::Upcaster<Self>)] =
                &[$($(($name, $earlier, $upcaster),)*)+];

            fn row(&self) -> &'static $crate::Row {
                self.event_type().row()
            }

            fn subject(&self) -> &dyn $crate::Subject {
                match self { $(Self::$variant(data) => &data.$subject,)+ }
            }

            fn from_json(
                name: &str,
                version: u32,
                data: &str,
            ) -> Option<$crate::serde_json::Result<Self>> {
                match (name, version) {
                    $(($name, $version) => Some($crate::strict_json::from_str(data).map(Self::$variant)),)+
                    _ => None,
                }
            }
        }
    };
    (@flag record_only) => { true };
    (@flag) => { false };
}
