//! Tables for people, and the same rows as JSON.

use anyhow::Result;
use chrono::{DateTime, Utc};
use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use devstack::one_line;
use serde::Serialize;
use serde_json::{Value, json};

/// The width of a table, for all that the author of a message cannot choose.
const TABLE_CHARS: u16 = 120;

/// A table without lines, whose last column takes the width that the others leave, and wraps.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header).add_rows(rows);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(TABLE_CHARS);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        if column.index + 1 < N {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.trim_fmt()
}

/// The rows of services as JSON, each with the name of its service.
pub(crate) fn as_json(rows: &[(impl Serialize, impl Serialize)]) -> Result<String> {
    let with_service = |(service, row): &(_, _)| -> Result<Value> {
        let mut row = serde_json::to_value(row)?;
        row["service"] = json!(service);
        Ok(row)
    };
    let rows = rows.iter().map(with_service).collect::<Result<Vec<_>>>()?;
    Ok(serde_json::to_string_pretty(&rows)?)
}

pub(crate) fn time(time: Option<DateTime<Utc>>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A value in one line of what can be printed, before it is measured and wrapped.
pub(crate) fn cell(text: Option<&str>) -> String {
    match text {
        None | Some("") => "-".to_owned(),
        Some(text) => one_line(&text.replace('\n', " ")).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_column_wraps_and_no_other_does() {
        let order = "01a1fe4c-0000-7000-8000-000000000001";
        let row = [format!("now\n{order}"), "word ".repeat(30)];
        let table = table(["when\norder", "reason"], [row].into_iter());
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(
            lines[1..3],
            ["order", &format!("now{}{}", " ".repeat(35), "word ".repeat(16).trim_end())]
        );
        assert_eq!(lines[3], format!("{order}  {}", "word ".repeat(14).trim_end()));
    }

    #[test]
    fn a_cell_is_one_line_of_what_can_be_printed() {
        assert_eq!(cell(Some("\x1b[2Ja\nb\u{202e}")), "\\u001b[2Ja b\\u202e");
        assert_eq!(cell(None), "-");
    }
}
