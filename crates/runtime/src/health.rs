//! Readiness: which parts a service needs, and which of them are missing; and what else there is to know.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The parts that a service needs to be ready. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// What `/health/live` tells.
    pub service: Option<&'static str>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The reason for each part that is missing; none for one that is there.
    parts: BTreeMap<&'static str, Option<String>>,
    notes: BTreeMap<&'static str, String>,
    is_stopping: bool,
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

    pub fn of(service: &'static str) -> Self {
        Self { service: Some(service), ..Self::default() }
    }

    /// The part of that name. A new one is down: "starting".
    pub fn item(&self, name: &'static str) -> HealthItem {
        self.lock().parts.entry(name).or_insert_with(|| Some("starting".to_owned()));
        HealthItem { health: self.clone(), name }
    }

    /// The service stops: from now on it is not ready, whatever its parts are.
    pub fn stop(&self) {
        self.lock().is_stopping = true;
    }

    pub fn is_stopping(&self) -> bool {
        self.lock().is_stopping
    }

    pub fn is_ready(&self) -> bool {
        self.lock().parts.values().all(Option::is_none)
    }

    /// What is missing, with the reason of each, by name.
    pub fn missing(&self) -> BTreeMap<&'static str, String> {
        let state = self.lock();
        state.parts.iter().filter_map(|(name, reason)| Some((*name, reason.clone()?))).collect()
    }

    /// Notes what a person may want to know, and the service can do without: it is ready all the same.
    pub fn note(&self, name: &'static str, text: impl Into<String>) {
        self.lock().notes.insert(name, text.into());
    }

    pub fn drop_note(&self, name: &'static str) {
        self.lock().notes.remove(name);
    }

    pub fn notes(&self) -> BTreeMap<&'static str, String> {
        self.lock().notes.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HealthItem {
    pub fn up(&self) {
        if self.set(None).is_some() {
            tracing::info!(part = self.name, "up");
        }
    }

    pub fn is_up(&self) -> bool {
        matches!(self.health.lock().parts.get(self.name), Some(None))
    }

    /// The part is missing, and why. Logged when it was there before, or when the reason is new.
    pub fn down(&self, reason: impl Into<String>) {
        let reason = reason.into();
        if self.set(Some(reason.clone())).as_ref() != Some(&reason) {
            tracing::warn!(part = self.name, reason, "down");
        }
    }

    fn set(&self, reason: Option<String>) -> Option<String> {
        self.health.lock().parts.insert(self.name, reason).flatten()
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
