//! A saga as the model keeps it: shared, and hashed once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use super::saga::Saga;

/// A saga that does not change any more, shared by all states that it is part of, with what is asked of it often.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    saga: Arc<Saga>,
    digest: u64,
    is_at_rest: bool,
}

impl Kept {
    pub(super) fn new(saga: Saga) -> Self {
        let mut hasher = DefaultHasher::new();
        saga.hash(&mut hasher);
        let is_at_rest = saga.is_at_rest();
        Self { saga: Arc::new(saga), digest: hasher.finish(), is_at_rest }
    }

    /// The hash of the saga.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    /// Whether nothing more has to happen to it.
    pub(super) fn is_at_rest(&self) -> bool {
        self.is_at_rest
    }
}

impl Deref for Kept {
    type Target = Saga;

    fn deref(&self) -> &Saga {
        &self.saga
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.saga == other.saga
    }
}

impl Eq for Kept {}

impl Hash for Kept {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.digest);
    }
}
