//! The shell around the books: one call at a time is decided, journaled, and applied.

use std::{
    io,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use runtime::clock;
use uuid::Uuid;

use crate::{
    domain::{Authorization, Books, ItemKey, MerchantReference, Refusal, Reply, Report, Request},
    journal::Journal,
};

#[derive(Debug)]
pub(crate) struct Processor {
    books: Mutex<(Books, Option<Journal>)>,
    down_for: Duration,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the journal cannot be written")]
    Journal(#[from] io::Error),
}

impl Processor {
    /// The processor as its journal left it; without a journal, one that has nothing in its books.
    pub(crate) fn open(journal: Option<&Path>, down_for: Duration) -> anyhow::Result<Self> {
        let (journal, entries) = journal.map(Journal::open).transpose()?.unzip();
        let mut books = Books::default();
        entries.into_iter().flatten().for_each(|entry| books.apply(entry));
        Ok(Self { books: Mutex::new((books, journal)), down_for })
    }

    /// Does what the call asks for, once for each key.
    pub(crate) fn process(&self, key: &str, request: &Request) -> Result<Reply, Failure> {
        let (books, journal) = &mut *self.lock();
        let decision = books.decide(key, request, clock::new_id(), clock::now(), self.down_for)?;
        if let Some(entry) = decision.entry {
            if let Some(journal) = journal {
                journal.append(&entry)?;
            }
            books.apply(entry);
        }
        Ok(decision.reply)
    }

    pub(crate) fn authorization(&self, id: Uuid) -> Option<Authorization> {
        self.lock().0.authorization(id).cloned()
    }

    pub(crate) fn of_reference(&self, reference: &MerchantReference) -> Vec<Authorization> {
        self.lock().0.of_reference(reference).into_iter().cloned().collect()
    }

    pub(crate) fn report_page(
        &self,
        reference: Option<&MerchantReference>,
        after: Option<&ItemKey>,
        rows: usize,
    ) -> Report {
        self.lock().0.report_page(reference, after, rows)
    }

    fn lock(&self) -> MutexGuard<'_, (Books, Option<Journal>)> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
