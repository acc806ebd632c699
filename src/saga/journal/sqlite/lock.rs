//! One process a file.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::JournalError;

/// The file, locked for as long as this lives, and until the process ends however it ends.
///
/// It is a file of its own, because SQLite's locks on the database are those of the process: opening and closing that
/// file once more would give them up, and a second journal in this process would not be refused. It isn't deleted, for
/// somebody who has it open already could then lock a file that is no longer there.
#[derive(Debug)]
pub(super) struct Lock(#[allow(dead_code, reason = "held for its drop")] File);

impl Lock {
    pub(super) fn take(path: &Path) -> Result<Self, JournalError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let name = PathBuf::from(name);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&name);
        let file = file.map_err(|error| JournalError::new(format!("{} can't be opened: {error}", name.display())))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(JournalError::new(format!(
                "{} is in use by another coordinator, which holds the lock on {}; give each its own file",
                path.display(),
                name.display()
            ))),
            Err(TryLockError::Error(error)) => {
                Err(JournalError::new(format!("{} can't be locked: {error}", name.display())))
            }
        }
    }
}

/// The one path of the file, by whatever links it was named, so that two names of it are one lock.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, JournalError> {
    let failed = |error| JournalError::new(format!("{} can't be opened: {error}", path.display()));
    // Never opens a file that is there: see `Lock`.
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    let path = path.canonicalize().map_err(failed)?;
    if path.is_dir() {
        return Err(JournalError::new(format!("{} is a folder; a journal is a file", path.display())));
    }
    Ok(path)
}
