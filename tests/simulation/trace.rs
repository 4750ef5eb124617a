//! What happened in a run, step by step, for people. Only kept when somebody will read it.

/// The steps of a run.
pub(crate) struct Trace(Option<Vec<String>>);

impl Trace {
    /// Keeps nothing: a run that nobody reads is not slowed down.
    pub(crate) fn off() -> Self {
        Self(None)
    }

    /// Keeps every step.
    pub(crate) fn on() -> Self {
        Self(Some(Vec::new()))
    }

    /// Another step; one that is indented belongs to the step before it.
    pub(crate) fn note(&mut self, step: impl FnOnce() -> String) {
        if let Some(steps) = &mut self.0 {
            steps.push(step());
        }
    }

    /// The steps as a list, numbered.
    pub(crate) fn list(&self) -> String {
        let mut number = 0;
        let mut list = String::new();
        for step in self.0.iter().flatten() {
            if step.starts_with(' ') {
                list.push_str(&format!("    {step}\n"));
            } else {
                number += 1;
                list.push_str(&format!("{number:4}. {step}\n"));
            }
        }
        list
    }
}
