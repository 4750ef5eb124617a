//! An examination as text and as JSON.

use serde_json::{Value, json};

use super::{Examination, Verdict};

/// One line per check, and a verdict.
#[must_use]
pub fn lines(examination: &Examination) -> Vec<String> {
    let lines = examination.findings.iter().map(|finding| {
        let (verdict, text) = match &finding.verdict {
            Verdict::Fine(text) => ("ok", text),
            Verdict::Hint(text) => ("hint", text),
            Verdict::Wrong(text) => ("WRONG", text),
            Verdict::NotChecked(text) => ("not checked", text),
        };
        format!("{:<28}  {verdict:<9}  {text}", finding.check.name)
    });
    lines.chain([verdict(examination)]).collect()
}

/// The same as JSON: `at`, `verdict`, `checks`.
#[must_use]
pub fn json(examination: &Examination) -> Value {
    let mut json = json!(examination);
    json["verdict"] = verdict(examination).into();
    json
}

fn verdict(examination: &Examination) -> String {
    match (examination.wrong().count(), examination.findings.len()) {
        (0, all) => format!("all is well, by {all} checks"),
        (wrong, all) => format!("{wrong} of {all} checks found something wrong"),
    }
}
