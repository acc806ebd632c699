//! What SQLite doesn't see to.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::JournalError;

/// Writes the log that an earlier process left once more, as it is, and syncs it. Before SQLite looks at it.
///
/// If that process could not sync it, the kernel may have dropped what it couldn't write and still show it to everybody who
/// reads. SQLite would believe it, sync it, which now succeeds and does nothing, and move it into the file, or add to it:
/// with the power gone, what it built upon is missing, and the file is damaged, or what was added is lost. Pages that are
/// written again are written.
pub(super) fn write_log_again(path: &Path) -> Result<(), JournalError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = PathBuf::from(log);
    let file = match OpenOptions::new().read(true).write(true).open(&log) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        file => file,
    };
    let written = file.and_then(write_again);
    written.map_err(|error| JournalError::new(format!("{} can't be written: {error}", log.display())))
}

fn write_again(mut file: File) -> io::Result<()> {
    let mut piece = vec![0; 1024 * 1024];
    let mut at = 0;
    loop {
        file.seek(SeekFrom::Start(at))?;
        let length = match file.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&piece[..length])?;
        at += length as u64;
    }
    if at > 0 { file.sync_all() } else { Ok(()) }
}

/// Makes the file's name as durable as what is in it.
pub(super) fn sync_folder(path: &Path) -> Result<(), JournalError> {
    let Some(folder) = path.parent().filter(|_| cfg!(unix)) else { return Ok(()) };
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| JournalError::new(format!("{} can't be synced: {error}", folder.display())))
}
