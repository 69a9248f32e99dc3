//! A folder of a test's own, gone with it. The tests of the whole server have this file too.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The folder, as a path.
pub(crate) struct Folder(PathBuf);

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Folder {
    /// A new one, with nothing in it.
    pub(crate) fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("corewire-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // One that was killed may have left its own.
        let _absent = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a place to write");
        Self(path)
    }

    /// Where something of that name stands, or would.
    pub(crate) fn path(&self, name: &str) -> String {
        self.join(name).to_str().expect("a plain name").to_owned()
    }

    /// Writes a file, and makes the folders on its way.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.join(name);
        let above = path.parent().expect("it is below the folder");
        std::fs::create_dir_all(above).expect("a place to write");
        std::fs::write(&path, bytes).expect("a place to write");
        self.path(name)
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it harms nobody.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}
