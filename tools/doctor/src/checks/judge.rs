//! Building blocks of the checks.

use system::Service;

use super::super::Seen;
use super::super::Verdict::{self, Fine, NotChecked, Wrong};
use super::super::broker::Broker;
use super::super::databases::Database;

/// How many faults the one line of a check shows.
const SHOWN: usize = 3;

/// Wrong, with these faults and the advice; or fine without faults.
pub(super) fn judge(faults: impl IntoIterator<Item = String>, advice: &str, fine: String) -> Verdict {
    let faults: Vec<_> = faults.into_iter().collect();
    if faults.is_empty() { Fine(fine) } else { Wrong(format!("{}: {advice}", first(faults))) }
}

/// The verdict, where a part was skipped because of what another check found.
pub(super) fn skipping(skipped: &[String], verdict: Verdict) -> Verdict {
    match verdict {
        Fine(_) if !skipped.is_empty() => NotChecked(first(skipped.to_vec())),
        verdict => verdict,
    }
}

/// The first few, without repeats, in a line.
fn first(mut texts: Vec<String>) -> String {
    texts.dedup();
    let more = texts.len().saturating_sub(SHOWN);
    texts.truncate(SHOWN);
    if more > 0 {
        texts.push(format!("and {more} more"));
    }
    texts.join("; ")
}

pub(super) fn databases(seen: &Seen, ask: impl FnOnce(&[(Service, &Database)]) -> Verdict) -> Verdict {
    let (mut answered, mut away) = (Vec::new(), Vec::new());
    for (service, database) in &seen.databases {
        match database {
            Ok(database) => answered.push((*service, database)),
            Err(_) => away.push(format!("the database of {service} cannot be opened")),
        }
    }
    if answered.is_empty() {
        return NotChecked("Postgres does not answer".to_owned());
    }
    skipping(&away, ask(&answered))
}

/// Judges the broker, if its management API answers.
pub(super) fn broker(seen: &Seen, ask: impl FnOnce(&Broker) -> Verdict) -> Verdict {
    match &seen.broker {
        Ok(broker) => ask(broker),
        Err(_) => NotChecked("RabbitMQ's management API does not answer".to_owned()),
    }
}

/// Whether the service answers at its address; otherwise what it does is not missing.
pub(super) fn runs(seen: &Seen, service: Service) -> bool {
    seen.services.iter().any(|site| site.service == service.as_str() && site.answer.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(count: usize) -> Vec<String> {
        (1..=count).map(|number| format!("fault {number}")).collect()
    }

    #[test]
    fn a_verdict_is_one_line_with_the_first_faults() {
        assert_eq!(judge(vec![], "do it", "3 of them".to_owned()), Fine("3 of them".to_owned()));
        let wrong = |count| judge(texts(count), "do it", String::new());
        assert_eq!(wrong(1), Wrong("fault 1: do it".to_owned()));
        assert_eq!(wrong(5), Wrong("fault 1; fault 2; fault 3; and 2 more: do it".to_owned()));
    }

    #[test]
    fn what_was_skipped_hides_no_fault() {
        let wrong = Wrong("fault 1: do it".to_owned());
        assert_eq!(skipping(&texts(1), wrong.clone()), wrong);
        let same = ["away".to_owned(), "away".to_owned()];
        assert_eq!(skipping(&same, Fine(String::new())), NotChecked("away".to_owned()));
        assert_eq!(skipping(&[], Fine("5".to_owned())), Fine("5".to_owned()));
    }
}
