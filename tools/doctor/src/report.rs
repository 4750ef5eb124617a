//! An examination as text and as JSON.

use serde_json::{Value, json};

use super::{Examination, Finding, Verdict};

/// One line per check, and a verdict.
#[must_use]
pub fn lines(examination: &Examination) -> Vec<String> {
    let lines = examination.findings.iter().map(|finding| {
        let (verdict, text) = words(finding);
        format!("{:<28}  {:<9}  {text}", finding.check.name, verdict)
    });
    lines.chain([verdict(examination)]).collect()
}

/// The same as JSON: `at`, `verdict`, `checks`.
#[must_use]
pub fn json(examination: &Examination) -> Value {
    let checks = examination.findings.iter().map(|finding| {
        let (verdict, text) = words(finding);
        let verdict = verdict.to_lowercase();
        json!({
            "name": finding.check.name, "looks_at": finding.check.looks_at, "verdict": verdict, "text": text,
        })
    });
    let checks: Vec<_> = checks.collect();
    json!({ "at": examination.at, "verdict": verdict(examination), "checks": checks })
}

#[must_use]
pub fn verdict(examination: &Examination) -> String {
    match (examination.wrong().count(), examination.findings.len()) {
        (0, all) => format!("all is well, by {all} checks"),
        (wrong, all) => format!("{wrong} of {all} checks found something wrong"),
    }
}

fn words(finding: &Finding) -> (&'static str, &str) {
    match &finding.verdict {
        Verdict::Fine(text) => ("ok", text),
        Verdict::Hint(text) => ("hint", text),
        Verdict::Wrong(text) => ("WRONG", text),
        Verdict::NotChecked(text) => ("not checked", text),
    }
}
