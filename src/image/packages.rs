//! Packages, as the databases in an image list them: dpkg's, apk's and rpm's.

mod rpm;

use std::collections::{BTreeMap, BTreeSet};

use crate::layer::EntryKind;
use crate::layer::read::TarEntry;

const DPKG: &[u8] = b"var/lib/dpkg/status";
/// Images without a package manager have one file for each package here.
const DPKG_PARTS: &[u8] = b"var/lib/dpkg/status.d/";
const APK: [&[u8]; 2] = [b"lib/apk/db/installed", b"usr/lib/apk/db/installed"];
/// The largest database that is read, in bytes.
pub(crate) const MAX_DATABASE: u64 = 64 << 20;
/// How many packages and files of packages are looked at.
pub(crate) const MAX_PACKAGES: usize = 100_000;
/// How long the name of a package, its version or the name of its file may be, in bytes; others are none.
const MAX_NAME: usize = 255;

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub name: String,
    pub version: String,
    /// In the words of its manager; empty where the database has none.
    pub architecture: String,
    /// The installed size, by its database.
    pub bytes: u64,
    /// `dpkg`, `apk` or `rpm`; `pip` or `npm` of what a build lists besides.
    pub manager: &'static str,
    /// In the words of its database; empty where it says nothing, as dpkg's does.
    pub licence: String,
    /// The organisation that made it; empty where the database does not say.
    pub vendor: String,
}

/// The databases of an image, as the last layer has them.
#[derive(Debug, Default)]
pub(crate) struct Databases {
    packages: BTreeMap<Vec<u8>, Vec<Package>>,
    torn: BTreeSet<Vec<u8>>,
}

/// Returns whether a file of this path is a database.
pub(crate) fn is_database(path: &[u8]) -> bool {
    let part = path.strip_prefix(DPKG_PARTS).filter(|name| name.len() <= MAX_NAME && !name.contains(&b'/'));
    let is_part = part.is_some_and(|name| !name.ends_with(b".md5sums"));
    path == DPKG || is_part || APK.contains(&path) || rpm::is_database(path)
}

impl Databases {
    /// Returns how many bytes are to be read of an entry that is a database.
    pub fn wants(&self, entry: &TarEntry) -> Option<u64> {
        (is_database(&entry.path) && entry.kind == EntryKind::File && self.packages.len() < MAX_PACKAGES)
            .then_some(MAX_DATABASE)
    }

    /// Takes the content of a database.
    pub fn put(&mut self, path: &[u8], bytes: Vec<u8>) {
        self.packages.remove(path);
        self.torn.remove(path);
        let most = MAX_PACKAGES - self.packages.values().map(Vec::len).sum::<usize>().min(MAX_PACKAGES);
        let text = || String::from_utf8_lossy(&bytes);
        let found = if rpm::is_database(path) {
            let (found, is_whole) = rpm::packages(&bytes, most);
            if !is_whole {
                self.torn.insert(path.to_vec());
            }
            found
        } else if APK.contains(&path) {
            apk(&text(), most)
        } else {
            dpkg(&text(), most)
        };
        self.packages.insert(path.to_vec(), found);
    }

    /// Returns the databases that could not be read whole: damaged, of an unknown kind, or too large.
    pub fn torn(&self) -> impl Iterator<Item = &[u8]> {
        self.torn.iter().map(Vec::as_slice)
    }

    /// Returns the packages of the databases that are there, the largest first.
    pub fn packages(self, is_there: impl Fn(&[u8]) -> bool) -> Vec<Package> {
        let there = self.packages.into_iter().filter(|(path, _)| is_there(path));
        let mut out: Vec<Package> = there.flat_map(|(_, packages)| packages).collect();
        out.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        out
    }
}

/// Reads deb-control(5) paragraphs, with `Status` and with `Installed-Size` in KiB.
fn dpkg(text: &str, most: usize) -> Vec<Package> {
    let mut out = Vec::new();
    for paragraph in text.split("\n\n") {
        if out.len() == most {
            break;
        }
        let field = |name: &str| {
            paragraph.lines().find_map(|line| {
                let (found, value) = line.split_once(':')?;
                found.eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        let installed = field("Status").is_none_or(|status| status.ends_with(" installed"));
        let Some(name) = field("Package").filter(|name| installed && name.len() <= MAX_NAME) else {
            continue;
        };
        let size = field("Installed-Size").and_then(|size| size.parse::<u64>().ok()).unwrap_or(0);
        out.push(Package {
            name: name.into(),
            version: field("Version").filter(|it| it.len() <= MAX_NAME).unwrap_or_default().into(),
            architecture: field("Architecture").filter(|it| it.len() <= MAX_NAME).unwrap_or_default().into(),
            bytes: size.saturating_mul(1024),
            manager: "dpkg",
            licence: String::new(),
            vendor: String::new(),
        });
    }
    out
}

/// Reads apk's installed database: one letter for each field.
fn apk(text: &str, most: usize) -> Vec<Package> {
    let mut out = Vec::new();
    for paragraph in text.split("\n\n") {
        if out.len() == most {
            break;
        }
        let field =
            |letter: &str| paragraph.lines().find_map(|line| line.strip_prefix(letter)?.strip_prefix(':'));
        let Some(name) = field("P").filter(|name| name.len() <= MAX_NAME) else { continue };
        let size = field("I").and_then(|size| size.parse().ok()).unwrap_or(0);
        out.push(Package {
            name: name.into(),
            version: field("V").filter(|it| it.len() <= MAX_NAME).unwrap_or_default().into(),
            architecture: field("A").filter(|it| it.len() <= MAX_NAME).unwrap_or_default().into(),
            bytes: size,
            manager: "apk",
            licence: field("L").filter(|it| it.len() <= MAX_NAME).unwrap_or_default().into(),
            vendor: String::new(),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_list_what_is_installed() {
        let text = "Package: bash\nStatus: install ok installed\nInstalled-Size: 7164\nVersion: 5.2-1\nDescription: shell\n more\n\n\
            Package: gone\nStatus: deinstall ok config-files\nInstalled-Size: 9\n\nPackage: odd\nInstalled-Size: many\n";
        let found: Vec<_> = dpkg(text, 9).into_iter().map(|one| (one.name, one.version, one.bytes)).collect();
        assert_eq!(
            found,
            [("bash".into(), "5.2-1".into(), 7164 * 1024), ("odd".to_string(), String::new(), 0)]
        );
        let found = apk("C:Q1x\nP:musl\nV:1.2.5-r0\nA:x86_64\nI:667648\nF:lib\n\nP:a\nV:1\n\n", 9);
        assert_eq!(
            (found[0].name.as_str(), found[0].version.as_str(), found[0].bytes),
            ("musl", "1.2.5-r0", 667648)
        );
        assert_eq!(found.len(), 2);
    }

    /// 64 MiB of one database would be millions of packages, and each of many files may have so much.
    #[test]
    fn databases_take_a_bounded_place() {
        let mut all = Databases::default();
        let (dpkg, apk) = ("Package:a\n\n".repeat(MAX_PACKAGES), "P:a\n\n".repeat(MAX_PACKAGES));
        all.put(b"var/lib/dpkg/status.d/x", b"Package: x\nVersion: 1\n".to_vec());
        all.put(APK[0], apk.clone().into_bytes());
        for _ in 0..2 {
            all.put(DPKG, dpkg.clone().into_bytes());
        }
        all.put(APK[1], apk.into_bytes());
        let long = "x".repeat(MAX_NAME + 1);
        all.put(b"var/lib/dpkg/status.d/long", format!("Package: {long}\n").into_bytes());
        assert_eq!(all.packages.values().map(Vec::len).sum::<usize>(), MAX_PACKAGES);
        // A later layer's file is in place of the earlier one's.
        all.put(APK[0], Vec::new());
        all.put(DPKG, format!("Package: y\nVersion: {long}\n\nPackage: {long}\n").into_bytes());
        let found = all.packages(|_| true);
        let found: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.version.as_str())).collect();
        assert_eq!(found, [("x", "1"), ("y", "")]);
    }

    #[test]
    fn files_of_packages_have_plain_names() {
        let wanted = |path: &str| {
            let entry = TarEntry {
                path: path.into(),
                kind: EntryKind::File,
                mode: 0o644,
                uid: 0,
                gid: 0,
                size: 1,
                mtime: (0, 0),
                link: Vec::new(),
                rdev: (0, 0),
                xattrs: Vec::new(),
                lost: Vec::new(),
            };
            Databases::default().wants(&entry).is_some()
        };
        assert!(wanted("var/lib/dpkg/status") && wanted("var/lib/dpkg/status.d/base"));
        for path in ["var/lib/dpkg/status.d/a/b", "var/lib/dpkg/status.d/a.md5sums", "var/lib/dpkg/status.d"]
        {
            assert!(!wanted(path), "{path}");
        }
    }
}
