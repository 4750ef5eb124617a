//! An audit as text and as JSON.

use serde_json::{Value, json};

use super::{Audit, Count, Finding, Verdict, Violation};

const SHOWN: usize = 5;

/// An audit as lines: one per rule, the first violations of a broken one with the command that shows more, and a
/// verdict.
#[must_use]
pub fn lines(audit: &Audit) -> Vec<String> {
    let mut lines = Vec::new();
    for finding in &audit.findings {
        lines.push(line(finding));
        let violations = &finding.found.violations;
        if finding.verdict == Verdict::Broken {
            lines.push(format!("    why: {}", finding.rule.why));
            lines.extend(violations.iter().take(SHOWN).flat_map(shown));
            if violations.len() > SHOWN {
                lines.push(format!("    and {} more", violations.len() - SHOWN));
            }
        }
    }
    if let waiting @ [_, ..] = audit.awaiting_processor.as_slice() {
        let first = waiting[..waiting.len().min(SHOWN)].join(", ");
        lines.push(format!("waiting for the card processor's answer: {}, such as {first}", waiting.len()));
    }
    lines.push(verdict(audit));
    lines
}

/// The same as JSON: `at`, `verdict`, `under_way`, `awaiting_processor`, `rules`.
#[must_use]
pub fn json(audit: &Audit) -> Value {
    let mut json = json!(audit);
    json["verdict"] = verdict(audit).into();
    json
}

#[must_use]
pub fn verdict(audit: &Audit) -> String {
    let (asked, broken) = (audit.findings.len(), audit.broken().count());
    if broken > 0 {
        format!("{broken} of {asked} rules are broken")
    } else if audit.under_way.is_empty() {
        format!("all {asked} rules hold")
    } else {
        format!("no rule is broken, and the system is not at rest: {}", audit.under_way.join(", "))
    }
}

fn line(finding: &Finding) -> String {
    let counted = finding.found.counted.iter();
    let counted: Vec<_> =
        counted.map(|Count { count, what }| format!("{} {what}", thousands(*count))).collect();
    let counted = counted.join(", ");
    let verdict = match finding.verdict {
        Verdict::Holds => "ok",
        Verdict::NotAtRest => "not at rest yet",
        Verdict::Broken => "WRONG",
    };
    format!("{:<36}  {counted:<36}  {verdict}", finding.rule.name)
}

fn shown(violation: &Violation) -> Vec<String> {
    let Violation { about, fault } = violation;
    let mut lines = vec![format!("    {about}: {fault}")];
    if about.parse::<sqlx::types::Uuid>().is_ok() {
        lines.push(format!("        sagactl timeline {about}"));
    }
    lines
}

/// `48210` as `48,210`.
fn thousands(number: usize) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", thousands(number / 1_000), number % 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Found;
    use crate::rules::RULES;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (48_210, "48,210"), (1_234_567, "1,234,567")]
        {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn a_broken_rule_shows_its_first_violations() {
        let order = "01a1fe4c-0000-7000-8000-000000000001";
        let violations = (0..7).map(|_| Violation { about: order.to_owned(), fault: "is gone".to_owned() });
        let found = Found::of([(12, "SKUs")], violations);
        let finding = Finding::of(&RULES[0], found, true);
        let audit = Audit {
            at: chrono::DateTime::UNIX_EPOCH,
            findings: vec![finding],
            under_way: vec![],
            awaiting_processor: vec![],
        };
        let lines = lines(&audit);
        assert!(
            lines[0].starts_with("stock stays in its bounds") && lines[0].ends_with("WRONG"),
            "{lines:?}"
        );
        assert_eq!(lines[3], format!("        sagactl timeline {order}"));
        assert!(lines.contains(&"    and 2 more".to_owned()));
        assert_eq!(lines.last().map(String::as_str), Some("1 of 1 rules are broken"));
        assert_eq!(json(&audit)["rules"][0]["violations"].as_array().map(Vec::len), Some(7));
    }

    #[test]
    fn a_rule_not_at_rest_is_not_broken() {
        let finding = Finding { rule: &RULES[0], verdict: Verdict::NotAtRest, found: Found::default() };
        let under_way = vec!["3 orders not ended".to_owned()];
        let audit = Audit {
            at: chrono::DateTime::UNIX_EPOCH,
            findings: vec![finding],
            under_way,
            awaiting_processor: vec![],
        };
        assert!(!audit.is_broken());
        assert_eq!(verdict(&audit), "no rule is broken, and the system is not at rest: 3 orders not ended");
    }
}
