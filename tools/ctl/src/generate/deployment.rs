//! What runs the system: the compose file, the images, the scripts' lists, and the text that greets who starts it.

use std::fmt::Write;

use system::{Dependency, Outside, Program, Service, VHOST, programs};

const COMPOSE: &str = include_str!("../../templates/docker-compose.yml");
const DOCKERFILE: &str = include_str!("../../templates/Dockerfile");
const WELCOME: &str = include_str!("../../templates/welcome.txt");

/// `docker-compose.yml`.
pub(super) fn compose() -> String {
    let services: String = Service::ALL.iter().map(|service| compose_service(*service)).collect();
    let outside: String = Outside::ALL.iter().map(|outside| compose_outside(outside.program())).collect();
    let urls: String = programs()
        .map(|program| {
            let Program { name, port, .. } = program;
            let (variable, operations) = (variable(name), program.operations_port());
            format!(
                "      {variable}_URL: http://{name}:{port}\n      \
                 {variable}_OPERATIONS_URL: http://{name}:{operations}\n"
            )
        })
        .collect();
    let database_urls: String = Service::with_database()
        .map(|service| {
            let variable = variable(service.as_str());
            format!("      {variable}_DATABASE_URL: {}\n", in_compose(service, Dependency::Database))
        })
        .collect();
    let volumes: String =
        Outside::ALL.iter().map(|outside| format!("  {}:\n", outside.program().name)).collect();
    COMPOSE
        .replace("{{services}}", &(outside + &services))
        .replace("{{urls}}", &urls)
        .replace("{{database_urls}}", &database_urls)
        .replace("{{volumes}}", &volumes)
}

fn compose_service(service: Service) -> String {
    let program = service.program();
    let name = program.name;
    let mut environment = String::new();
    for need in service.needs() {
        let _ = writeln!(environment, "      {}: {}", need.variable(), in_compose(service, *need));
    }
    format!(
        "  {name}:\n    <<: *hardened\n    build: {{ context: ., target: {name} }}\n    pull_policy: build\n    \
         environment:\n      <<: *observability\n{environment}    depends_on: *needs\n{}\n",
        compose_ports(program)
    )
}

/// Where a service finds what it needs, by the names of the compose file.
fn in_compose(service: Service, need: Dependency) -> String {
    match need {
        Dependency::Database => format!("postgres://{service}:{service}@postgres/{service}"),
        Dependency::Broker => format!("amqp://{service}:{service}@rabbitmq:5672/{VHOST}"),
        Dependency::PaymentProvider => {
            let Program { name, port, .. } = Outside::PaymentProvider.program();
            format!("http://{name}:{port}")
        }
        Dependency::MailServer => "smtp://mailpit:1025".to_owned(),
    }
}

/// Both listeners, on this machine only.
fn compose_ports(program: Program) -> String {
    let (http, operations) = (program.port, program.operations_port());
    format!("    ports: [\"127.0.0.1:{http}:{http}\", \"127.0.0.1:{operations}:{operations}\"]\n")
}

fn compose_outside(program: Program) -> String {
    let name = program.name;
    format!(
        "  {name}:\n    <<: *hardened\n    build: {{ context: ., target: {name} }}\n    pull_policy: build\n    \
         environment: *observability\n    volumes: [{name}:/var/lib/{name}]\n{}\n",
        compose_ports(program)
    )
}

/// `Dockerfile`.
pub(super) fn dockerfile() -> String {
    let names: Vec<_> = programs().map(|program| program.name).collect();
    let services = Service::ALL.iter().map(|service| stage(service.program(), "", ""));
    let outside = Outside::ALL.iter().map(|outside| {
        let program = outside.program();
        let folder = format!(
            "# A new volume takes its owner from the folder in the image.\n\
             USER root\nRUN install --directory --owner=saga /var/lib/{0}\nUSER saga\n",
            program.name
        );
        stage(program, &folder, &format!(" JOURNAL_PATH=/var/lib/{}/journal.jsonl", program.name))
    });
    let stages: String = services.chain(outside).collect();
    DOCKERFILE.replace("{{programs}}", &names.join(" ")).replace("{{stages}}", &stages)
}

/// The stage of a program, with further steps and variables.
fn stage(program: Program, steps: &str, variables: &str) -> String {
    let (Program { name, port, .. }, operations) = (program, program.operations_port());
    format!(
        "FROM service AS {name}\nCOPY --from=build /out/{name} /usr/local/bin/\n{steps}\
         ENV HTTP_LISTEN=0.0.0.0:{port} OPERATIONS_LISTEN=0.0.0.0:{operations}{variables}\nEXPOSE {port} {operations}\nCMD [\"{name}\"]\n\n"
    )
}

/// `deploy/welcome.txt`: the URLs on the standard ports, and a first order.
#[must_use]
pub fn welcome() -> String {
    let rows: String = programs()
        .map(|Program { name, port, path, .. }| format!("  {name:<17} http://127.0.0.1:{port}{path}\n"))
        .collect();
    WELCOME
        .replace("{{services}}", &rows)
        .replace("{{order_port}}", &Service::Order.program().port.to_string())
}

/// `scripts/services.sh`, which scripts source.
pub(super) fn script() -> String {
    let names = |services: Vec<&str>| services.join(" ");
    let ports = programs().flat_map(|program| [program.port, program.operations_port()]);
    let ports: Vec<_> = ports.map(|port| port.to_string()).collect();
    format!(
        "# Written by `sagactl generate` from the table of services.\n# shellcheck disable=SC2034\n\
         programs=({})\nports=({})\ndatabases=({})\n",
        names(programs().map(|program| program.name).collect()),
        ports.join(" "),
        names(Service::with_database().map(Service::as_str).collect()),
    )
}

fn variable(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compose_file_is_of_its_folder_and_builds_what_it_runs() {
        let compose = compose();
        let fixed = ["name: ", "container_name: ", "image: order-saga"];
        let named = compose.lines().find(|line| fixed.iter().any(|name| line.trim_start().starts_with(name)));
        assert_eq!(named, None, "two copies of the project would share it");
        let built = compose.matches("target: ").count();
        // All but the tool, which runs the image that was built for `topology`.
        assert_eq!(compose.matches("pull_policy: build\n").count(), built - 1, "{compose}");
    }
}
