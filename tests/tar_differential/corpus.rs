//! Trees to archive.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::oracles::run;

/// A name that is not UTF-8.
pub const RAW: &[u8] = b"\xff\xfe raw";

/// A tree with all that archives have formats for.
pub struct Corpus {
    root: tempfile::TempDir,
    pub xattrs: bool,
}

pub fn corpus() -> Corpus {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir_all(at("dir/sub")).unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::write(at("dir/small"), "content").unwrap();
    fs::write(at("dir/sub/block"), [7; 512]).unwrap();
    fs::write(at("dir/big"), (0..50_000u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>()).unwrap();
    fs::set_permissions(at("dir/small"), fs::Permissions::from_mode(0o4711)).unwrap();
    symlink("../empty", at("dir/link")).unwrap();
    fs::hard_link(at("dir/small"), at("hard")).unwrap();
    let script =
        "import os,sys; f=sys.argv[1]; os.setxattr(f,'user.t',b'a\\0\\n=b'); os.setxattr(f,'user.e',b'')";
    let mut set = Command::new("python3");
    let xattrs =
        set.args(["-c", script]).arg(at("dir/small")).stderr(Stdio::null()).status().unwrap().success();
    Corpus { root, xattrs }
}

impl Corpus {
    pub fn at(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.root.path().join(name.as_ref())
    }

    /// Adds what v7 has no room for: a pipe, and names of up to 256 bytes.
    pub fn medium(self) -> Self {
        run(Command::new("mkfifo").arg(self.at("fifo")));
        let path = format!("{}/{}", "p".repeat(80), "q".repeat(70));
        fs::create_dir_all(self.at(&path)).unwrap();
        fs::write(self.at(format!("{path}/{}", "n".repeat(100))), "medium").unwrap();
        fs::write(self.at("n".repeat(100)), "exact").unwrap();
        self
    }

    /// Adds what ustar has no room for: longer names, and times before 1970.
    pub fn long(self) -> Self {
        let deep = format!("{}/{}/{}", "p".repeat(90), "q".repeat(90), "r".repeat(90));
        fs::create_dir_all(self.at(&deep)).unwrap();
        fs::write(self.at(format!("{deep}/{}", "n".repeat(200))), "deep").unwrap();
        symlink("t/".repeat(100), self.at("long-link")).unwrap();
        fs::hard_link(self.at(format!("{deep}/{}", "n".repeat(200))), self.at("z-hard-to-deep")).unwrap();
        fs::write(self.at("old"), "x").unwrap();
        run(Command::new("touch").args(["-d", "1969-12-31T23:59:58.5Z"]).arg(self.at("old")));
        self
    }

    /// Names that are not ASCII, and names that are not even text.
    pub fn odd(self) -> Self {
        fs::write(self.at("caf\u{e9}"), "utf-8").unwrap();
        fs::write(self.at(OsStr::from_bytes(RAW)), "bytes").unwrap();
        fs::write(self.at("new\nline"), "newline").unwrap();
        self
    }

    pub fn sparse(self) -> Self {
        for (name, regions) in [("holes", 3u64), ("many-holes", 60), ("only-a-hole", 0)] {
            let file = fs::File::create(self.at(name)).unwrap();
            for region in 0..regions {
                file.write_all_at(b"data", region * 65536 + 4096).unwrap();
            }
            file.set_len(regions * 65536 + 100_000).unwrap();
        }
        self
    }

    /// Archives the tree with `program` and these options.
    pub fn tar(&self, program: &str, options: &[&str], out: &Path) {
        let mut names: Vec<OsString> =
            fs::read_dir(self.root.path()).unwrap().map(|item| item.unwrap().file_name()).collect();
        names.sort();
        let mut command = Command::new(program);
        command.arg("-C").arg(self.root.path()).arg("-cf").arg(out).args(options);
        run(command.arg("--").args(names));
    }
}
