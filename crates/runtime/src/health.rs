//! Readiness: which parts a service needs, and which of them are missing; and what else there is to know.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The parts that a service needs to be ready. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Health {
    service: Option<&'static str>,
    missing: Arc<Mutex<BTreeMap<&'static str, Option<String>>>>,
    notes: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

/// One part. Its owner reports [`up`](Self::up) or [`down`](Self::down).
#[derive(Debug, Clone)]
pub struct HealthItem {
    health: Health,
    name: &'static str,
}

impl Health {
    pub fn new() -> Self {
        Self::default()
    }

    /// The same for the service of that name, which `/health/live` then tells.
    pub fn of(service: &'static str) -> Self {
        Self { service: Some(service), ..Self::default() }
    }

    pub fn service(&self) -> Option<&'static str> {
        self.service
    }

    /// The part of that name. A new one is down: "starting".
    pub fn item(&self, name: &'static str) -> HealthItem {
        self.lock().entry(name).or_insert_with(|| Some("starting".to_owned()));
        HealthItem { health: self.clone(), name }
    }

    pub fn is_ready(&self) -> bool {
        self.lock().values().all(Option::is_none)
    }

    /// What is missing, with the reason of each, by name.
    pub fn missing(&self) -> BTreeMap<&'static str, String> {
        let items = self.lock();
        items.iter().filter_map(|(name, reason)| Some((*name, reason.clone()?))).collect()
    }

    /// Notes what a person may want to know, and the service can do without: it is ready all the same.
    pub fn note(&self, name: &'static str, text: impl Into<String>) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).insert(name, text.into());
    }

    /// Takes the note of that name back.
    pub fn drop_note(&self, name: &'static str) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    pub fn notes(&self) -> BTreeMap<&'static str, String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Option<String>>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HealthItem {
    pub fn up(&self) {
        if self.set(None).is_some() {
            tracing::info!(part = self.name, "up");
        }
    }

    pub fn is_up(&self) -> bool {
        matches!(self.health.lock().get(self.name), Some(None))
    }

    /// The part is missing, and why. Logged when it was there before, or when the reason is new.
    pub fn down(&self, reason: impl Into<String>) {
        let reason = reason.into();
        if self.set(Some(reason.clone())).as_ref() != Some(&reason) {
            tracing::warn!(part = self.name, reason, "down");
        }
    }

    fn set(&self, reason: Option<String>) -> Option<String> {
        self.health.lock().insert(self.name, reason).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_without_parts_is_ready() {
        assert!(Health::new().is_ready());
    }

    #[test]
    fn a_part_is_missing_until_it_says_up() {
        let health = Health::new();
        let database = health.item("database");
        assert_eq!(health.missing(), BTreeMap::from([("database", "starting".to_owned())]));
        database.up();
        assert!(health.is_ready());
        database.down("connection refused");
        assert_eq!(health.missing()["database"], "connection refused");
    }

    #[test]
    fn a_part_named_twice_is_the_same() {
        let health = Health::new();
        health.item("broker").up();
        health.item("broker");
        assert!(health.is_ready());
    }

    #[test]
    fn a_note_takes_nothing_from_readiness() {
        let health = Health::new();
        health.note("printer", "out of paper");
        assert!(health.is_ready());
        assert_eq!(health.notes(), BTreeMap::from([("printer", "out of paper".to_owned())]));
        health.drop_note("printer");
        assert_eq!(health.notes(), BTreeMap::new());
    }
}
