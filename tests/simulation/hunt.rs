//! The hunt for a seed that fails, and what is told of one: the invariant, the shortest run found, how to repeat it.

use std::env;
use std::fmt;
use std::io::{self, Write as _};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crate::choices::Choices;
use crate::invariants::Violation;
use crate::shrink::shrink;
use crate::system::System;
use crate::trace::Trace;
use crate::world::{World, run};

/// Names one seed to run instead of all: `17`. Or a range of them to hunt in: `0..1000000`.
const VARIABLE: &str = "SIMULATION_SEED";

/// A seed that fails.
pub(crate) struct Finding {
    /// The seed.
    pub(crate) seed: u64,
    /// What does not hold.
    pub(crate) violation: Violation,
    /// The choices that lead there.
    choices: Vec<u32>,
}

/// The shortest run that was found to fail like a finding.
pub(crate) struct Shortest {
    /// What does not hold.
    pub(crate) violation: Violation,
    /// How many choices the run makes until all is plain.
    pub(crate) choices: usize,
    /// Its steps.
    pub(crate) steps: String,
}

/// Runs the seeds, or those that the environment names, and panics with a report when one fails.
#[track_caller]
pub(crate) fn assert_none_fails(system: System, seeds: Range<u64>, test: &str) {
    let seeds = asked_for().unwrap_or(seeds);
    let (count, start) = (seeds.end - seeds.start, Instant::now());
    let Some(finding) = first_failing(system, seeds) else {
        return tell(&format!("{test}: {count} seeds in {:.1} s", start.elapsed().as_secs_f64()));
    };
    let Shortest { violation, choices, steps } = finding.shortest(system);
    panic!(
        "seed {seed}: {violation}\n\nThe shortest run that fails like it ({choices} choices), step by step:\n\n{steps}\n\
         To repeat it:\n  {VARIABLE}={seed} cargo test --package simulation {test}\n",
        seed = finding.seed,
    );
}

/// The lowest of the seeds that fails, with all processors at work.
pub(crate) fn first_failing(system: System, seeds: Range<u64>) -> Option<Finding> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let (next, lowest) = (AtomicU64::new(seeds.start), AtomicU64::new(seeds.end));
    let work = || {
        let mut found: Option<Finding> = None;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= lowest.load(Ordering::Relaxed) {
                return found;
            }
            if let (world, Err(violation)) = run(system, Choices::of_seed(seed), Trace::off()) {
                lowest.fetch_min(seed, Ordering::Relaxed);
                found = Some(Finding { seed, violation, choices: world.choices.made() });
            }
        }
    };
    let found: Vec<Finding> = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().filter_map(|it| it.join().expect("no panic")).collect()
    });
    found.into_iter().min_by_key(|finding| finding.seed)
}

/// Says something even in a test that passes, whose prints nobody sees.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Runs the seeds one after the other and shows each world at its end.
pub(crate) fn for_each(system: System, seeds: Range<u64>, mut look: impl FnMut(&World)) {
    for seed in seeds {
        look(&run(system, Choices::of_seed(seed), Trace::off()).0);
    }
}

impl Finding {
    /// How many choices led there.
    pub(crate) fn choices(&self) -> usize {
        self.choices.len()
    }

    /// Leaves out and lowers choices for as long as the same invariant fails.
    pub(crate) fn shortest(&self, system: System) -> Shortest {
        let fails = |script: &[u32]| {
            let (world, checked) = run(system, Choices::of_script(script.to_vec()), Trace::off());
            let violation = checked.err()?;
            (violation.invariant == self.violation.invariant).then(|| world.choices.made())
        };
        let script = shrink(self.choices.clone(), fails);
        let choices = script.len();
        let (world, checked) = run(system, Choices::of_script(script), Trace::on());
        let violation = checked.err().unwrap_or_else(|| self.violation.clone());
        Shortest { violation, choices, steps: world.trace.list() }
    }
}

/// The seeds that the environment names.
fn asked_for() -> Option<Range<u64>> {
    let text = env::var(VARIABLE).ok()?;
    let number = |text: &str| {
        text.parse::<u64>().unwrap_or_else(|_| panic!("{VARIABLE}: a seed such as 17, or 0..1000"))
    };
    Some(match text.split_once("..") {
        Some((start, end)) => number(start)..number(end),
        None => number(&text)..number(&text) + 1,
    })
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it does not hold that {}:\n{}", self.invariant, self.found)
    }
}
