//! Chance: every choice of a run comes from here, and only from here.
//!
//! A run is a function of its choices. They come from a seed, and are written down as they are made; the list can be
//! played again, and a list that was shortened or lowered is another run. Zero is always the plain choice: no fault,
//! the oldest message, the smallest order. So a list that is all zeros, or at its end, is a run without a fault.

use rand::{Rng, SeedableRng, rngs::StdRng};

/// Where choices come from, and those made so far.
pub(crate) struct Choices {
    source: Source,
    made: Vec<u32>,
}

enum Source {
    Seed(Box<StdRng>),
    Script { script: Vec<u32>, next: usize },
    Calm,
}

impl Choices {
    /// The choices of a seed.
    pub(crate) fn of_seed(seed: u64) -> Self {
        Self { source: Source::Seed(Box::new(StdRng::seed_from_u64(seed))), made: Vec::new() }
    }

    /// The choices of a list, and zeros after its end.
    pub(crate) fn of_script(script: Vec<u32>) -> Self {
        Self { source: Source::Script { script, next: 0 }, made: Vec::new() }
    }

    /// From now on everything is plain: how a run is brought to rest.
    pub(crate) fn calm_down(&mut self) {
        self.source = Source::Calm;
    }

    pub(crate) fn is_calm(&self) -> bool {
        matches!(self.source, Source::Calm)
    }

    /// A number below `count`, which is 1 or more.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        let bound = u32::try_from(count).expect("few to choose from");
        let choice = match &mut self.source {
            Source::Seed(random) => random.random_range(0..bound),
            Source::Script { script, next } => {
                *next += 1;
                script.get(*next - 1).map_or(0, |choice| choice % bound)
            }
            Source::Calm => return 0,
        };
        self.made.push(choice);
        choice as usize
    }

    /// One of them; the first is the plain one.
    pub(crate) fn of<T: Copy>(&mut self, options: &[T]) -> T {
        options[self.below(options.len())]
    }

    /// True in so many of a hundred cases.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        percent > 0 && self.below(100) >= 100 - percent
    }

    /// All choices made so far.
    pub(crate) fn made(self) -> Vec<u32> {
        self.made
    }
}
