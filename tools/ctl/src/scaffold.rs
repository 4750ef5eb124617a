//! `sagactl new`: the folder of a new service, a new event, and their rows in the tables. What else lists services or
//! events is generated from the tables.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use contracts::EventType;
use system::{Service, programs};

/// The files of a service, below the project's root.
const FILES: [(&str, &str); 12] = [
    ("services/{{name}}/Cargo.toml", include_str!("../templates/service/Cargo.toml.txt")),
    ("services/{{name}}/sqlx.toml", include_str!("../templates/service/sqlx.toml.txt")),
    ("services/{{name}}/history.sql", include_str!("../templates/service/history.sql.txt")),
    ("services/{{name}}/src/main.rs", include_str!("../templates/service/main.rs.txt")),
    ("services/{{name}}/src/lib.rs", include_str!("../templates/service/lib.rs.txt")),
    ("services/{{name}}/src/config.rs", include_str!("../templates/service/config.rs.txt")),
    ("services/{{name}}/src/domain.rs", include_str!("../templates/service/domain.rs.txt")),
    ("services/{{name}}/src/store.rs", include_str!("../templates/service/store.rs.txt")),
    ("services/{{name}}/src/reactions.rs", include_str!("../templates/service/reactions.rs.txt")),
    ("services/{{name}}/src/http.rs", include_str!("../templates/service/http.rs.txt")),
    ("services/{{name}}/src/transitions.rs", include_str!("../templates/service/transitions.rs.txt")),
    ("migrations/{{name}}/0001_tallies.sql", include_str!("../templates/service/migration.sql.txt")),
];

const SERVICES: &str = "crates/system/src/table.rs";
const EVENTS: &str = "crates/contracts/src/table.rs";
const SAMPLES: &str = "crates/contracts/src/samples.rs";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum New {
    /// Write the folder of a service, its row and its dependency lines; run `sagactl generate` afterwards
    Service {
        /// A lower-case word: the name of its program, crate, database, role and broker user
        name: String,
        /// The events that its queue is bound to, by their names without version
        #[arg(long, value_delimiter = ',', default_value = "order.completed")]
        consumes: Vec<String>,
        /// Its standard port [default: the next that is free in the table]
        #[arg(long)]
        port: Option<u16>,
    },
    /// Write the row and the sample of an event; run `sagactl generate` afterwards
    Event {
        /// Two lower-case words, the second in the past tense: order.shipped
        name: String,
        /// The service that publishes it
        #[arg(long)]
        owner: Service,
        /// A field beside `order_id`, as name:type, such as carrier:String
        #[arg(long = "field", value_name = "NAME:TYPE")]
        fields: Vec<String>,
    },
}

pub(crate) fn run(root: &Path, new: &New) -> Result<ExitCode> {
    let written = match new {
        New::Service { name, consumes, port } => service(root, name, consumes, *port)?,
        New::Event { name, owner, fields } => event(root, name, *owner, fields)?,
    };
    written.iter().for_each(|path| devstack::print(&format!("wrote {path}")));
    devstack::print("next: cargo run --package ctl -- generate");
    Ok(ExitCode::SUCCESS)
}

fn service(root: &Path, name: &str, consumes: &[String], port: Option<u16>) -> Result<Vec<String>> {
    ensure!(is_word(name), "{name:?} is not a lower-case word");
    ensure!(!root.join("services").join(name).exists(), "services/{name} exists already");
    let consumed: Vec<_> = consumes.iter().map(|name| variant_of(name)).collect::<Result<_>>()?;
    let port = port.unwrap_or_else(|| {
        let taken: Vec<_> = programs().map(|program| program.port).collect();
        (8081..).find(|port| !taken.contains(port)).unwrap_or_default()
    });
    let title = camel_case(name);
    let fill = |text: &str| {
        let quoted: Vec<_> = consumes.iter().map(|name| format!("`{name}`")).collect();
        text.replace("{{name}}", name)
            .replace("{{Name}}", &title)
            .replace("{{NAME}}", &name.to_uppercase())
            .replace("{{consumed}}", &quoted.join(", "))
    };
    let mut written = Vec::new();
    for (path, text) in FILES {
        let path = fill(path);
        write(&root.join(&path), &fill(text))?;
        written.push(path);
    }
    let row = format!(
        "                {title} {{\n                    \
         name: \"{name}\", code: {name}, port: {port}, path: \"/api/v1/{name}\",\n                    \
         does: \"counts, for each order, the events it consumes\",\n                    \
         reads: Queue[{}],\n                    needs: [Database, Broker],\n                }}\n",
        consumed.join(", ")
    );
    insert(root, SERVICES, "            }\n            outside {", &row)?;
    let line = format!("{name} = {{ path = \"services/{name}\" }}\n");
    insert(root, "Cargo.toml", "payment-provider = { path", &line)?;
    insert(root, "tools/registry/Cargo.toml", "payment.workspace", &format!("{name}.workspace = true\n"))?;
    written.extend([SERVICES, "Cargo.toml", "tools/registry/Cargo.toml"].map(str::to_owned));
    Ok(written)
}

fn event(root: &Path, name: &str, owner: Service, fields: &[String]) -> Result<Vec<String>> {
    let words: Vec<_> = name.split(['.', '_']).collect();
    ensure!(
        name.contains('.') && words.iter().all(|word| is_word(word)),
        "{name:?} is not like order.shipped"
    );
    let title: String = words.into_iter().map(camel_case).collect();
    let (mut row, mut sample) = (String::new(), String::new());
    for field in fields {
        let (name, kind) = field.split_once(':').with_context(|| format!("{field:?} is not NAME:TYPE"))?;
        row += &format!("        {name}: {kind},\n");
        sample += &format!(", {name}: {}", sample_of(name, kind));
    }
    // Nobody consumes it yet.
    let row = format!(
        "\n    /// Say here what happened.\n    \
         {title} = \"{name}\" version 1, owner \"{owner}\", subject order_id, record_only {{\n        \
         order_id: OrderId,\n{row}    }}\n"
    );
    insert(root, EVENTS, "}\n\nimpl Event {", &row)?;
    insert(root, SAMPLES, "    ])\n}", &format!("        table::{title} {{ order_id{sample} }}.into(),\n"))?;
    Ok([EVENTS, SAMPLES].map(str::to_owned).into())
}

fn sample_of(name: &str, kind: &str) -> String {
    match kind {
        "String" => format!("\"{name}\".to_owned()"),
        "Money" => "Money { amount_minor: 2500, currency: \"EUR\".parse()? }".to_owned(),
        "Uuid" => "Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0ddd)".to_owned(),
        "bool" => "true".to_owned(),
        "Sku" => "\"ESPRESSO-1KG\".parse()?".to_owned(),
        _ => "1".to_owned(),
    }
}

fn variant_of(name: &str) -> Result<String> {
    let event = EventType::ALL.iter().find(|event| event.name() == name);
    Ok(format!("{:?}", event.with_context(|| format!("{name:?} is not an event"))?))
}

/// Inserts text before the first place where the file has the marker.
fn insert(root: &Path, path: &str, before: &str, text: &str) -> Result<()> {
    let file = root.join(path);
    let old = fs::read_to_string(&file).with_context(|| format!("cannot read {path}"))?;
    let at = old.find(before).with_context(|| format!("{path} has no {before:?}"))?;
    write(&file, &format!("{}{text}{}", &old[..at], &old[at..]))
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase())
}

fn camel_case(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}
