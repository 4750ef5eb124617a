//! Makes a failing run short: leaves choices out and lowers them for as long as it fails.
//!
//! It knows nothing of orders and messages. Since zero is the plain choice, fewer and lower choices are fewer orders,
//! fewer faults and a shorter schedule (the idea is that of Hypothesis; MacIver and Donaldson, ECOOP 2020).

/// How many runs the search may take.
const MOST_RUNS: usize = 3_000;
/// How far behind a choice those are looked for that it had led to, and how many.
const REACH: usize = 4;

/// The shortest list found that fails. `fails` makes a run of a list, and when it fails gives back the choices that the
/// run really made.
pub(crate) fn shrink(failing: Vec<u32>, fails: impl Fn(&[u32]) -> Option<Vec<u32>>) -> Vec<u32> {
    let mut search = Search { best: plain_end_cut_off(failing), fails, runs: 0 };
    loop {
        let before = search.best.clone();
        search.leave_out();
        search.lower();
        search.lower_and_leave_out();
        if search.best == before || search.runs >= MOST_RUNS {
            return search.best;
        }
    }
}

struct Search<F> {
    best: Vec<u32>,
    fails: F,
    runs: usize,
}

impl<F: Fn(&[u32]) -> Option<Vec<u32>>> Search<F> {
    /// Leaves out stretches of choices, long ones first, from the end to the start.
    fn leave_out(&mut self) {
        let mut length = self.best.len() / 2;
        while length > 0 {
            let mut end = self.best.len();
            while end >= length {
                let mut shorter = self.best.clone();
                shorter.drain(end - length..end);
                if self.improves(&shorter) {
                    end = end.min(self.best.len());
                } else {
                    end -= length.div_ceil(2);
                }
            }
            length /= 2;
        }
    }

    /// Lowers single choices: to zero, or else by half, or else by one.
    fn lower(&mut self) {
        for index in (0..self.best.len()).rev() {
            while let Some(choice) = self.best.get(index).copied().filter(|choice| *choice > 0) {
                let lowered = [0, choice / 2, choice - 1].into_iter().any(|lower| {
                    let mut candidate = self.best.clone();
                    candidate[index] = lower;
                    self.improves(&candidate)
                });
                if !lowered {
                    break;
                }
            }
        }
    }

    /// Lowers a choice and leaves out some that it had led to: a thing less, and what was to be said about it.
    fn lower_and_leave_out(&mut self) {
        for index in 0..self.best.len() {
            for (start, length) in
                (1..=REACH).flat_map(|start| (1..=REACH).map(move |length| (start, length)))
            {
                let (start, end) = (index + start, index + start + length);
                if end > self.best.len() || self.best[index] == 0 {
                    break;
                }
                let mut candidate = self.best.clone();
                candidate[index] -= 1;
                candidate.drain(start..end);
                self.improves(&candidate);
            }
        }
    }

    /// Takes the candidate if it still fails and is shorter, or as long and lower.
    fn improves(&mut self, candidate: &[u32]) -> bool {
        if self.runs >= MOST_RUNS {
            return false;
        }
        self.runs += 1;
        let Some(made) = (self.fails)(candidate).map(plain_end_cut_off) else { return false };
        let better = (made.len(), &made) < (self.best.len(), &self.best);
        if better {
            self.best = made;
        }
        better
    }
}

/// After its end a list goes on with zeros anyhow.
fn plain_end_cut_off(mut choices: Vec<u32>) -> Vec<u32> {
    let end = choices.iter().rposition(|choice| *choice > 0).map_or(0, |last| last + 1);
    choices.truncate(end);
    choices
}

#[test]
fn list_is_shrunk_to_its_minimum() {
    let fails = |list: &[u32]| (list.contains(&7) && list.iter().any(|it| *it > 40)).then(|| list.to_vec());
    assert_eq!(shrink(vec![3, 90, 0, 7, 7, 55, 1, 0, 12], fails), [41, 7]);
}
