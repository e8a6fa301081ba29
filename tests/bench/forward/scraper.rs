//! Asks an mpfwd for its metrics, once or again and again.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n";

pub struct Scraper {
    path: PathBuf,
    every: Option<Duration>,
    begun: Once,
    /// Holds the socket.
    _folder: TempDir,
}

impl Scraper {
    /// Of the socket at `path` in the folder.
    pub fn new(folder: TempDir, path: PathBuf, every: Option<Duration>) -> Self {
        Self { path, every, begun: Once::new(), _folder: folder }
    }

    /// Asks from now on, until nobody listens any more. A process that is stopped
    /// answers when it goes on.
    pub fn begin(&self) {
        let (path, every) = (self.path.clone(), self.every);
        self.begun.call_once(|| {
            thread::spawn(move || {
                while ask(&path).is_ok() {
                    let Some(every) = every else { break };
                    thread::sleep(every);
                }
            });
        });
    }
}

fn ask(path: &Path) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(REQUEST)?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}
