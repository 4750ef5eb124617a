//! One option and one variable for each service of the table, such as `--order-url` and `ORDER_URL`.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};
use system::Service;

/// What the URLs lead to.
pub(crate) trait Place {
    /// The end of the option's name.
    const SUFFIX: &str;
    /// The services that have it.
    fn services() -> impl Iterator<Item = Service>;
    /// Where `sagactl up` puts it.
    fn default(service: Service) -> String;
    fn help(service: Service) -> String;
}

/// The services themselves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Http;

impl Place for Http {
    const SUFFIX: &str = "url";

    fn services() -> impl Iterator<Item = Service> {
        Service::ALL.iter().copied()
    }

    fn default(service: Service) -> String {
        format!("http://127.0.0.1:{}", service.program().port)
    }

    fn help(service: Service) -> String {
        format!("The {service} service")
    }
}

/// Their databases, each with the role of its service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Database;

impl Place for Database {
    const SUFFIX: &str = "database-url";

    fn services() -> impl Iterator<Item = Service> {
        Service::with_database()
    }

    fn default(service: Service) -> String {
        format!("postgres://{service}:{service}@127.0.0.1:8432/{service}")
    }

    fn help(service: Service) -> String {
        format!("The database of the {service} service")
    }
}

/// The URL of each service's place.
#[derive(Debug, Clone)]
pub(crate) struct Urls<P>(BTreeMap<Service, String>, PhantomData<P>);

impl<P> Urls<P> {
    /// The URL of a service that has such a place.
    pub(crate) fn of(&self, service: Service) -> &str {
        self.0.get(&service).map_or("", String::as_str)
    }
}

fn name<P: Place>(service: Service) -> String {
    format!("{service}-{}", P::SUFFIX)
}

impl<P: Place> Args for Urls<P> {
    fn augment_args(command: Command) -> Command {
        command.args(P::services().map(|service| {
            let name = name::<P>(service);
            Arg::new(name.clone())
                .env(name.replace('-', "_").to_uppercase())
                .hide_env_values(true)
                .default_value(P::default(service))
                .help(P::help(service))
                .value_name("URL")
                .long(name)
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<P: Place> FromArgMatches for Urls<P> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let url = |service| Some((service, matches.get_one::<String>(&name::<P>(service))?.clone()));
        Ok(Self(P::services().filter_map(url).collect(), PhantomData))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
