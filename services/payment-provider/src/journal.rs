//! The journal: a file with a line of JSON for everything that happened.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    path::Path,
};

use anyhow::{Context, bail};

use crate::domain::Entry;

/// The end of the journal, where entries are appended.
///
/// An entry that was appended survives the end of the process, not a power cut: it is not synced to disk.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    length: u64,
}

impl Journal {
    /// Opens the journal, or begins one, and reads what happened before.
    ///
    /// A last line that was cut short, by a process that was killed in the middle of it, is dropped: its
    /// call was never answered.
    pub(crate) fn open(path: &Path) -> anyhow::Result<(Self, Vec<Entry>)> {
        let describe = || format!("the journal {} (JOURNAL_PATH)", path.display());
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = file.with_context(describe)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("{} is in use by another process", describe()),
            Err(TryLockError::Error(error)) => return Err(error).with_context(describe),
        }
        let (entries, length) = read(&file).with_context(describe)?;
        file.set_len(length).with_context(describe)?;
        file.seek(SeekFrom::Start(length)).with_context(describe)?;
        Ok((Self { file, length }, entries))
    }

    /// Appends an entry, whole or not at all.
    pub(crate) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        if let Err(error) = self.file.write_all(&line) {
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::Start(self.length))?;
            return Err(error);
        }
        self.length += line.len() as u64;
        Ok(())
    }
}

/// The entries of all complete lines, and the length of these.
fn read(file: &File) -> anyhow::Result<(Vec<Entry>, u64)> {
    let mut reader = BufReader::new(file);
    let (mut entries, mut length, mut line) = (Vec::new(), 0, Vec::new());
    while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
        let entry = strict_json::from_slice(&line);
        entries.push(entry.with_context(|| format!("line {} is damaged", entries.len() + 1))?);
        length += line.len() as u64;
        line.clear();
    }
    Ok((entries, length))
}
