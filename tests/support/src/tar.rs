//! Writing tar archives by hand, names and all, as an attacker would: nothing is checked or normalised.

/// An entry, exactly as it goes into the archive.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    pub flag: u8,
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: u64,
    pub rdev: (u32, u32),
    pub data: Vec<u8>,
    /// The size in the header where it is not that of the data.
    pub size: Option<u64>,
    /// PAX records beside those for long names.
    pub pax: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    fn new(flag: u8, path: impl AsRef<[u8]>) -> Entry {
        let mode = if flag == b'5' { 0o755 } else { 0o644 };
        Entry { flag, path: path.as_ref().to_vec(), mode, mtime: 1_000_000, ..Entry::default() }
    }

    pub fn mode(mut self, mode: u32) -> Entry {
        self.mode = mode;
        self
    }

    pub fn owner(mut self, uid: u32, gid: u32) -> Entry {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    pub fn mtime(mut self, mtime: u64) -> Entry {
        self.mtime = mtime;
        self
    }

    pub fn xattr(self, name: &str, value: impl AsRef<[u8]>) -> Entry {
        self.pax(&format!("SCHILY.xattr.{name}"), value)
    }

    pub fn pax(mut self, key: &str, value: impl AsRef<[u8]>) -> Entry {
        self.pax.push((key.into(), value.as_ref().to_vec()));
        self
    }

    fn header(&self, flag: u8, path: &[u8], link: &[u8], size: u64) -> [u8; 512] {
        let mut block = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &path[..path.len().min(100)]);
        put(100, format!("{:07o}", self.mode).as_bytes());
        put(108, format!("{:07o}", self.uid).as_bytes());
        put(116, format!("{:07o}", self.gid).as_bytes());
        put(124, format!("{size:011o}").as_bytes());
        put(136, format!("{:011o}", self.mtime).as_bytes());
        put(148, b"        ");
        put(156, &[flag]);
        put(157, &link[..link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}", self.rdev.0).as_bytes());
        put(337, format!("{:07o}", self.rdev.1).as_bytes());
        let sum: u32 = block.iter().map(|&b| b as u32).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        block
    }

    fn push(&self, out: &mut Vec<u8>) {
        let mut records = self.pax.clone();
        if self.path.len() > 100 {
            records.push((b"path".to_vec(), self.path.clone()));
        }
        if self.link.len() > 100 {
            records.push((b"linkpath".to_vec(), self.link.clone()));
        }
        if !records.is_empty() {
            let mut body = Vec::new();
            for (key, value) in &records {
                let rest = key.len() + value.len() + 3;
                let mut len = rest + 1;
                while rest + len.to_string().len() != len {
                    len = rest + len.to_string().len();
                }
                body.extend_from_slice(format!("{len} ").as_bytes());
                body.extend_from_slice(key);
                body.push(b'=');
                body.extend_from_slice(value);
                body.push(b'\n');
            }
            out.extend_from_slice(&self.header(b'x', b"pax", b"", body.len() as u64));
            out.extend_from_slice(&body);
            pad(out);
        }
        let size = self.size.unwrap_or(self.data.len() as u64);
        out.extend_from_slice(&self.header(self.flag, &self.path, &self.link, size));
        out.extend_from_slice(&self.data);
        pad(out);
    }
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(512), 0);
}

pub fn file(path: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Entry {
    Entry { data: data.as_ref().to_vec(), ..Entry::new(b'0', path) }
}

pub fn dir(path: impl AsRef<[u8]>) -> Entry {
    Entry::new(b'5', path)
}

pub fn symlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
    Entry { link: target.as_ref().to_vec(), ..Entry::new(b'2', path) }
}

pub fn hardlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
    Entry { link: target.as_ref().to_vec(), ..Entry::new(b'1', path) }
}

pub fn fifo(path: impl AsRef<[u8]>) -> Entry {
    Entry::new(b'6', path)
}

pub fn device(path: impl AsRef<[u8]>, flag: u8, rdev: (u32, u32)) -> Entry {
    Entry { rdev, ..Entry::new(flag, path) }
}

/// Returns the archive with these entries.
pub fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        entry.push(&mut out);
    }
    out.resize(out.len() + 1024, 0);
    out
}
