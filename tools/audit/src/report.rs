//! An audit as text and as JSON.

use serde_json::{Value, json};

use super::{Audit, Finding, Verdict, Violation};

const SHOWN: usize = 5;

/// An audit as lines: one per rule, the first violations of a broken one with the command that shows more, and a
/// verdict.
#[must_use]
pub fn lines(audit: &Audit) -> Vec<String> {
    let mut lines = Vec::new();
    for finding in &audit.findings {
        lines.push(line(finding));
        if let Verdict::Broken(violations) = &finding.verdict {
            lines.push(format!("    why: {}", finding.rule.why));
            lines.extend(violations.iter().take(SHOWN).flat_map(shown));
            if violations.len() > SHOWN {
                lines.push(format!("    and {} more", violations.len() - SHOWN));
            }
        }
    }
    if !audit.awaiting_processor.is_empty() {
        let (count, first) = (
            audit.awaiting_processor.len(),
            audit.awaiting_processor.iter().take(SHOWN).cloned().collect::<Vec<_>>(),
        );
        lines.push(format!("waiting for the card processor's answer: {count}, such as {}", first.join(", ")));
    }
    lines.push(verdict(audit));
    lines
}

/// The same as JSON: `at`, `verdict`, `under_way`, `awaiting_processor`, `rules`.
#[must_use]
pub fn json(audit: &Audit) -> Value {
    let rules = audit.findings.iter().map(|finding| {
        let (verdict, violations) = match &finding.verdict {
            Verdict::Holds => ("ok", &[][..]),
            Verdict::NotAtRest => ("not at rest", &[][..]),
            Verdict::Broken(violations) => ("wrong", violations.as_slice()),
        };
        let counted = finding.counted.iter().map(|(count, what)| json!({"count": count, "what": what}));
        json!({
            "name": finding.rule.name, "why": finding.rule.why, "verdict": verdict,
            "counted": counted.collect::<Vec<_>>(), "violations": violations,
        })
    });
    json!({
        "at": audit.at,
        "verdict": verdict(audit),
        "under_way": audit.under_way,
        "awaiting_processor": audit.awaiting_processor,
        "rules": rules.collect::<Vec<_>>(),
    })
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
    let counted = finding.counted.iter().map(|(count, what)| format!("{} {what}", thousands(*count)));
    let verdict = match finding.verdict {
        Verdict::Holds => "ok",
        Verdict::NotAtRest => "not at rest yet",
        Verdict::Broken(_) => "WRONG",
    };
    let counted = counted.collect::<Vec<_>>().join(", ");
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
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let verdict = Verdict::Broken(violations.collect());
        let finding = Finding { rule: &RULES[0], counted: vec![(12, "SKUs")], verdict };
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
        let finding = Finding { rule: &RULES[0], counted: vec![], verdict: Verdict::NotAtRest };
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
