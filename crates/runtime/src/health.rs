//! Health: whether a service can serve HTTP, which of its parts are up, and what else there is to know.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The part that serving HTTP needs.
const DATABASE: &str = "database";

/// The parts of a service. Clones share them.
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

    /// Why HTTP cannot be served; none for a service that is ready. What else is missing costs no request: events wait in
    /// the outbox, and those of others in the queue.
    pub fn unready(&self) -> Option<String> {
        let state = self.lock();
        if state.is_stopping {
            return Some("the service is stopping".to_owned());
        }
        let reason = state.parts.get(DATABASE)?.as_ref()?;
        Some(format!("{DATABASE}: {reason}"))
    }

    pub fn all_up(&self) -> bool {
        self.lock().parts.values().all(Option::is_none)
    }

    /// Every part by name, with the reason of each that is missing.
    pub fn parts(&self) -> BTreeMap<&'static str, Option<String>> {
        self.lock().parts.clone()
    }

    /// What is missing, with the reason of each, by name.
    pub fn missing(&self) -> BTreeMap<&'static str, String> {
        let state = self.lock();
        state.parts.iter().filter_map(|(name, reason)| Some((*name, reason.clone()?))).collect()
    }

    /// Notes what a person may want to know, and the service can do without: its parts are up all the same.
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
        let health = Health::new();
        assert!(health.all_up() && health.unready().is_none());
    }

    #[test]
    fn a_part_is_missing_until_it_says_up() {
        let health = Health::new();
        let database = health.item("database");
        assert_eq!(health.missing(), BTreeMap::from([("database", "starting".to_owned())]));
        database.up();
        assert!(health.all_up());
        database.down("connection refused");
        assert_eq!(health.missing()["database"], "connection refused");
    }

    #[test]
    fn a_service_is_ready_with_its_database_alone_until_it_stops() {
        let health = Health::new();
        let (database, _relay) = (health.item("database"), health.item("relay"));
        assert_eq!(health.unready().as_deref(), Some("database: starting"));
        database.up();
        assert_eq!((health.unready(), health.all_up()), (None, false));
        health.stop();
        assert_eq!(health.unready().as_deref(), Some("the service is stopping"));
    }

    #[test]
    fn a_part_named_twice_is_the_same() {
        let health = Health::new();
        health.item("broker").up();
        health.item("broker");
        assert!(health.all_up());
    }

    #[test]
    fn a_note_takes_nothing_from_the_parts() {
        let health = Health::new();
        health.note("printer", "out of paper");
        assert!(health.all_up());
        assert_eq!(health.notes(), BTreeMap::from([("printer", "out of paper".to_owned())]));
        health.drop_note("printer");
        assert_eq!(health.notes(), BTreeMap::new());
    }
}
