//! Where the services' databases are.

use std::io;
use std::path::{Path, PathBuf};

/// A directory with one database file a service.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    temporary: bool,
}

impl DataDir {
    /// A fresh directory under the system's temporary one, for [`remove`](DataDir::remove) at the end.
    ///
    /// # Errors
    ///
    /// It can't be made.
    pub fn temporary() -> io::Result<Self> {
        let name = format!("order-system-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(Self { path, temporary: true })
    }

    /// A directory that is kept; made if it isn't there.
    ///
    /// # Errors
    ///
    /// It can't be made.
    pub fn at(path: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&path)?;
        Ok(Self { path, temporary: false })
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file of one service.
    #[must_use]
    pub fn database(&self, service: &str) -> PathBuf {
        self.path.join(service).with_extension("db")
    }

    /// The journal of orders' sagas.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.path.join("orders.saga.db")
    }

    /// Deletes the directory if it is a temporary one.
    ///
    /// # Errors
    ///
    /// It can't be deleted.
    pub fn remove(self) -> io::Result<()> {
        if self.temporary { std::fs::remove_dir_all(&self.path) } else { Ok(()) }
    }
}
