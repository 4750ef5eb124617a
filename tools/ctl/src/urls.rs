//! One option and one variable for each service of the table, such as `--order-url` and `ORDER_URL`.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};
use system::Service;

/// What the URLs lead to.
pub(crate) trait Place {
    /// The end of the option's name.
    const SUFFIX: &str;
    /// What of the service it is, for people.
    const WHAT: &str;
    /// Where `sagactl up` puts it; none for a service that has no such place.
    fn default(service: Service) -> Option<String>;
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Http;

impl Place for Http {
    const SUFFIX: &str = "url";
    const WHAT: &str = "The";

    fn default(service: Service) -> Option<String> {
        Some(format!("http://127.0.0.1:{}", service.program().port))
    }
}

/// Where they serve health and metrics.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operations;

impl Place for Operations {
    const SUFFIX: &str = "operations-url";
    const WHAT: &str = "Health of the";

    fn default(service: Service) -> Option<String> {
        Some(format!("http://127.0.0.1:{}", service.program().operations_port()))
    }
}

/// Their databases, each with the role of its service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Database;

impl Place for Database {
    const SUFFIX: &str = "database-url";
    const WHAT: &str = "The database of the";

    fn default(service: Service) -> Option<String> {
        service.has_database().then(|| format!("postgres://{service}:{service}@127.0.0.1:8432/{service}"))
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

impl Urls<Database> {
    /// The wanted services that have a database, in the order of the table, each with its URL.
    pub(crate) fn wanted(&self, only: Option<Service>) -> impl Iterator<Item = (Service, &str)> {
        let all = self.0.iter().map(|(service, url)| (*service, url.as_str()));
        all.filter(move |(service, _)| only.is_none_or(|only| only == *service))
    }
}

fn name<P: Place>(service: Service) -> String {
    format!("{service}-{}", P::SUFFIX)
}

impl<P: Place> Args for Urls<P> {
    fn augment_args(command: Command) -> Command {
        command.args(Service::ALL.iter().filter_map(|service| {
            let name = name::<P>(*service);
            let arg = Arg::new(name.clone())
                .env(name.replace('-', "_").to_uppercase())
                .hide_env_values(true)
                .default_value(P::default(*service)?)
                .help(format!("{} {service} service", P::WHAT))
                .value_name("URL")
                .long(name);
            Some(arg)
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<P: Place> FromArgMatches for Urls<P> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let url = |service: &Service| {
            P::default(*service)?;
            Some((*service, matches.get_one::<String>(&name::<P>(*service))?.clone()))
        };
        Ok(Self(Service::ALL.iter().filter_map(url).collect(), PhantomData))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
