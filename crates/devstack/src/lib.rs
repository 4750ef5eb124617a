//! Runs the whole system on one machine: a private Postgres, a private RabbitMQ, a mail sink and
//! the services, each a child process with its data and log in one folder, none left behind.

mod command;
mod folder;
mod ports;
mod postgres;
mod process;
mod proxy;
mod rabbitmq;
mod services;
mod signals;
mod smtp;
mod system;

pub use crate::system::{HttpPorts, ServicePorts, System, SystemOptions, SystemPorts};
pub use command::{exit_code, one_line, own_folder, print, print_error};
pub use folder::{default_folder, temporary_folder};
pub use ports::{free as free_ports, holder as port_holder, local as local_address};
pub use postgres::{Postgres, Shutdown, Storage};
pub use process::Process;
pub use proxy::{NetworkFault, Proxy};
pub use rabbitmq::{RabbitMq, RabbitMqPorts};
pub use services::{Service, Services};
pub use signals::Signals;
pub use smtp::SmtpSink;
