//! What the doctor found as lines for a person, and as JSON.

use serde_json::{Value, json};

use super::{Examination, Finding, Verdict};

/// One line per check, and a verdict.
#[must_use]
pub fn lines(examination: &Examination) -> Vec<String> {
    let lines = examination.findings.iter().map(|finding| {
        let (verdict, says) = words(finding);
        format!("{:<28}  {:<9}  {says}", finding.check.name, verdict)
    });
    lines.chain([verdict(examination)]).collect()
}

/// The same as JSON: `at`, `verdict`, `checks`.
#[must_use]
pub fn json(examination: &Examination) -> Value {
    let checks = examination.findings.iter().map(|finding| {
        let (verdict, says) = words(finding);
        let verdict = verdict.to_lowercase();
        json!({
            "name": finding.check.name, "looks_at": finding.check.looks_at, "verdict": verdict, "says": says,
        })
    });
    let checks: Vec<_> = checks.collect();
    json!({ "at": examination.at, "verdict": verdict(examination), "checks": checks })
}

/// The outcome in a line.
#[must_use]
pub fn verdict(examination: &Examination) -> String {
    match (examination.wrong().count(), examination.findings.len()) {
        (0, all) => format!("all is well, by {all} checks"),
        (wrong, all) => format!("{wrong} of {all} checks found something wrong"),
    }
}

fn words(finding: &Finding) -> (&'static str, &str) {
    match &finding.verdict {
        Verdict::Fine(says) => ("ok", says),
        Verdict::Hint(says) => ("hint", says),
        Verdict::Wrong(says) => ("WRONG", says),
        Verdict::NotAsked(says) => ("not asked", says),
    }
}
