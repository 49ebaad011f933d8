//! Each reader's list of an archive, in one form.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use support::tools::need;
use treering::Digest;
use treering::layer::EntryKind;
use treering::layer::read::{Data, LayerReader, ReadChunks, ReadLimits, TarEntry};

/// A program that prints one line per entry: name, type, size, sha256 of the content, link, `|`, mode, uid, gid; bytes in
/// hexadecimal.
pub const PYTHON: &str = r#"
import sys, tarfile, hashlib, os
KINDS = {b'0':'f', b'\0':'f', b'7':'f', b'S':'f', b'1':'h', b'2':'l', b'3':'c', b'4':'b', b'5':'d', b'6':'p'}
for archive in sys.argv[1:]:
    print('archive', archive)
    try:
        with tarfile.open(archive, 'r:', encoding='utf-8', errors='surrogateescape') as tar:
            for m in tar:
                kind = KINDS[m.type]
                data = tar.extractfile(m).read() if kind == 'f' else b''
                size = m.size if kind == 'f' else 0
                link = os.fsencode(m.linkname).hex() if kind in 'hl' else ''
                print('%s %s %d %s %s|%o %d %d' % (os.fsencode(m.name).hex(), kind, size,
                    hashlib.sha256(data).hexdigest(), link, m.mode & 0o7777, m.uid, m.gid))
    except Exception as e:
        print('error', repr(e))
"#;

const GO: &str = r#"
package main
import ("archive/tar"; "bufio"; "crypto/sha256"; "fmt"; "io"; "os"; "strings"; "time")
func write(name string, format tar.Format) {
    file, err := os.Create(name)
    if err != nil { panic(err) }
    out := tar.NewWriter(file)
    add := func(h tar.Header, body string) {
        h.Format, h.Size = format, int64(len(body))
        if h.Typeflag == 0 { h.Typeflag = tar.TypeReg }
        if h.ModTime.IsZero() { h.ModTime = time.Unix(1700000000, 0) }
        if h.Mode == 0 { h.Mode = 0755 }
        if err := out.WriteHeader(&h); err != nil { panic(err) }
        if _, err := io.WriteString(out, body); err != nil { panic(err) }
    }
    add(tar.Header{Name: "./", Typeflag: tar.TypeDir}, "")
    add(tar.Header{Name: "etc/", Typeflag: tar.TypeDir}, "")
    add(tar.Header{Name: "etc/passwd", Mode: 0644, Uname: "root", Gname: "root"}, "root")
    add(tar.Header{Name: "etc/link", Typeflag: tar.TypeSymlink, Linkname: "../etc/passwd"}, "")
    add(tar.Header{Name: "etc/hard", Typeflag: tar.TypeLink, Linkname: "etc/passwd"}, "")
    add(tar.Header{Name: "etc/.wh.gone"}, "")
    add(tar.Header{Name: "fifo", Typeflag: tar.TypeFifo}, "")
    add(tar.Header{Name: strings.Repeat("p/", 70) + strings.Repeat("n", 90)}, "split")
    if format != tar.FormatUSTAR {
        add(tar.Header{Name: strings.Repeat("p/", 120) + strings.Repeat("n", 90), Uid: 3000000}, "long")
        add(tar.Header{Name: "caf\u00e9", ModTime: time.Unix(-5, 0)}, "before 1970")
        add(tar.Header{Name: "long", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("t/", 90)}, "")
    }
    if format == tar.FormatPAX {
        add(tar.Header{Name: "time", ModTime: time.Unix(-5, 250000000), AccessTime: time.Unix(9, 9)}, "exact")
        add(tar.Header{Name: "cap", PAXRecords: map[string]string{
            "SCHILY.xattr.security.capability": "\x01\x00\x00\x02\n=", "VENDOR.key": "anything"}}, "x")
    }
    if err := out.Close(); err != nil { panic(err) }
    if err := file.Close(); err != nil { panic(err) }
}
func main() {
    if os.Args[1] == "-write" {
        write(os.Args[2] + "/ustar.tar", tar.FormatUSTAR)
        write(os.Args[2] + "/pax.tar", tar.FormatPAX)
        write(os.Args[2] + "/gnu.tar", tar.FormatGNU)
        return
    }
    out := bufio.NewWriter(os.Stdout)
    defer out.Flush()
    kinds := map[byte]string{'0':"f", '7':"f", 'S':"f", '1':"h", '2':"l", '3':"c", '4':"b", '5':"d", '6':"p", 'g':"g"}
    for _, path := range os.Args[1:] {
        fmt.Fprintln(out, "archive", path)
        file, err := os.Open(path)
        if err != nil { panic(err) }
        for reader := tar.NewReader(file); ; {
            h, err := reader.Next()
            if err == io.EOF { break }
            if err != nil { fmt.Fprintln(out, "error", err); break }
            kind := kinds[h.Typeflag]
            if kind == "g" { continue }
            sum := sha256.New()
            size, err := io.Copy(sum, reader)
            if err != nil { fmt.Fprintln(out, "error", err); break }
            link := ""
            if kind == "h" || kind == "l" { link = h.Linkname }
            fmt.Fprintf(out, "%x %s %d %x %x|%o %d %d\n",
                h.Name, kind, size, sum.Sum(nil), link, h.Mode & 07777, h.Uid, h.Gid)
        }
        file.Close()
    }
}
"#;

/// A row that must be equal for all readers: name, type, size, sha256, link target, and mode, uid and gid.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    path: Vec<u8>,
    kind: char,
    size: u64,
    sha256: String,
    link: Vec<u8>,
    meta: String,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, link) = (self.path.escape_ascii(), self.link.escape_ascii());
        write!(f, "{} {path} {} {} {link} {}", self.kind, self.size, self.sha256, self.meta)
    }
}

type Listing = Result<Vec<Row>, String>;
type Tree = BTreeMap<Vec<u8>, Item>;
/// Type, and sha256 or link text.
type Item = (char, String);
pub type Entries = Vec<(TarEntry, Vec<u8>)>;

pub fn ours(path: &Path) -> treering::Result<Entries> {
    let file = fs::File::open(path).unwrap();
    let mut reader = LayerReader::new(ReadChunks::with_size(file, 10_000), ReadLimits::default());
    let mut out = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        while let Some(data) = reader.next_data()? {
            match data {
                Data::Bytes(bytes) => content.extend_from_slice(&bytes),
                Data::Hole(len) => content.resize(content.len() + len as usize, 0),
            }
        }
        out.push((entry, content));
    }
    Ok(out)
}

pub fn rows(entries: &Entries) -> Vec<Row> {
    let row = |(entry, content): &(TarEntry, Vec<u8>)| Row {
        path: entry.path.clone(),
        kind: letter(entry.kind),
        size: entry.size,
        sha256: Digest::of(content).hex(),
        link: entry.link.clone(),
        meta: format!("{:o} {} {}", entry.mode, entry.uid, entry.gid),
    };
    entries.iter().map(row).collect()
}

pub fn letter(kind: EntryKind) -> char {
    match kind {
        EntryKind::File => 'f',
        EntryKind::Directory => 'd',
        EntryKind::Symlink => 'l',
        EntryKind::Hardlink => 'h',
        EntryKind::CharDevice => 'c',
        EntryKind::BlockDevice => 'b',
        EntryKind::Fifo => 'p',
    }
}

/// Components without the empty ones and `.`, as our reader gives them.
fn normal(path: &[u8]) -> Vec<u8> {
    let components = path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    components.collect::<Vec<_>>().join(&b'/')
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

pub fn run(command: &mut Command) -> Vec<u8> {
    let output = command.env("LC_ALL", "C").stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

pub fn python(script: &str, arguments: &[impl AsRef<OsStr>]) -> Vec<u8> {
    run(Command::new("python3").arg("-c").arg(script).args(arguments))
}

/// Returns whether GNU tar's peers are there to be asked; in CI they must be.
pub fn installed(program: &str) -> bool {
    need(program, &[if program == "go" { "version" } else { "--version" }])
}

/// Returns the lines of the Python or Go program above.
pub fn parse_listing(text: Vec<u8>) -> BTreeMap<PathBuf, Listing> {
    let mut out: BTreeMap<PathBuf, Listing> = BTreeMap::new();
    let mut archive = PathBuf::new();
    for line in String::from_utf8(text).unwrap().lines() {
        if let Some(path) = line.strip_prefix("archive ") {
            archive = path.into();
            out.insert(archive.clone(), Ok(Vec::new()));
        } else if let Some(error) = line.strip_prefix("error ") {
            out.insert(archive.clone(), Err(error.into()));
        } else if let Some(Ok(rows)) = out.get_mut(&archive) {
            let (line, meta) = line.split_once('|').unwrap();
            let fields: Vec<&str> = line.split(' ').collect();
            let kind = fields[1].chars().next().unwrap();
            let link = unhex(fields[4]);
            rows.push(Row {
                path: normal(&unhex(fields[0])),
                kind,
                size: fields[2].parse().unwrap(),
                sha256: fields[3].into(),
                link: if kind == 'h' { normal(&link) } else { link },
                meta: meta.into(),
            });
        }
    }
    out
}

/// Returns the Go program, compiled once; `None` without Go.
pub fn go() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        // The build directory need not be ours to write to: then it is the temporary directory's, which the run removes.
        let user = rustix::process::geteuid().as_raw();
        let beside = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tar-list-{user}"));
        let directory = match fs::create_dir_all(&beside) {
            Ok(()) => beside,
            Err(_) => tempfile::tempdir().unwrap().keep(),
        };
        fs::write(directory.join("list.go"), GO).unwrap();
        installed("go").then(|| {
            let mut command = Command::new("go");
            command.args(["build", "-o", "list", "list.go"]).current_dir(&directory);
            run(command.env("GO111MODULE", "off").env("GOTOOLCHAIN", "local"));
            directory.join("list")
        })
    };
    BUILT.get_or_init(build).as_deref()
}

/// Returns what GNU tar or bsdtar extracts: every path with type, content and link text; hard links are files by then.
fn extracted(program: &str, archive: &Path) -> Result<Tree, String> {
    let root = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command
        .arg("-xf")
        .arg(archive)
        .arg("-C")
        .arg(root.path())
        .args(["--no-same-owner", "--no-same-permissions"]);
    if program == "tar" {
        command.arg("--warning=no-timestamp");
    }
    let output = command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let mut out = Tree::new();
    walk(root.path(), root.path(), &mut out);
    Ok(out)
}

fn walk(root: &Path, at: &Path, out: &mut Tree) {
    for item in fs::read_dir(at).unwrap() {
        let path = item.unwrap().path();
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        let kind = path.symlink_metadata().unwrap().file_type();
        let value = if kind.is_dir() {
            walk(root, &path, out);
            ('d', String::new())
        } else if kind.is_symlink() {
            ('l', fs::read_link(&path).unwrap().as_os_str().as_bytes().escape_ascii().to_string())
        } else if kind.is_fifo() {
            ('p', String::new())
        } else {
            ('f', Digest::of(&fs::read(&path).unwrap()).hex())
        };
        out.insert(name, value);
    }
}

/// Returns our entries as a tree: the last of two with one name stays, and a hard link is what it joins.
fn as_tree(entries: &Entries) -> Tree {
    let mut out = Tree::new();
    for (entry, content) in entries.iter().filter(|(entry, _)| !entry.path.is_empty()) {
        let value = match entry.kind {
            EntryKind::File => ('f', Digest::of(content).hex()),
            EntryKind::Symlink => ('l', entry.link.escape_ascii().to_string()),
            EntryKind::Hardlink => out[&entry.link].clone(),
            kind => (letter(kind), String::new()),
        };
        // Parents without an entry.
        for (at, _) in entry.path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            out.entry(entry.path[..at].to_vec()).or_insert(('d', String::new()));
        }
        out.insert(entry.path.clone(), value);
    }
    out
}

/// Readers with a known useless reading of an archive; the reason stands where it is used.
#[derive(Clone, Copy, Default)]
pub struct Except {
    pub python: bool,
    pub bsdtar: bool,
}

pub const NONE: Except = Except { python: false, bsdtar: false };

/// Checks that every reader finds what we find. The archives that we refuse are reported back.
pub fn compare(archives: &[(PathBuf, Except)]) -> Vec<(PathBuf, treering::Error)> {
    let paths: Vec<PathBuf> = archives.iter().map(|(path, _)| path.clone()).collect();
    let python = parse_listing(python(PYTHON, &paths));
    let go = go().map(|go| parse_listing(run(Command::new(go).args(&paths))));
    let with_bsdtar = installed("bsdtar");
    let mut refused = Vec::new();
    let mut wrong = String::new();
    for (path, except) in archives {
        let entries = match ours(path) {
            Ok(entries) => entries,
            Err(error) => {
                refused.push((path.clone(), error));
                continue;
            }
        };
        let expected = rows(&entries);
        if !except.python {
            differ(&mut wrong, path, "python", &python[path], &expected);
        }
        if let Some(go) = &go {
            differ(&mut wrong, path, "go", &go[path], &expected);
        }
        let tree = as_tree(&entries);
        differ(&mut wrong, path, "GNU tar", &extracted("tar", path), &tree);
        if with_bsdtar && !except.bsdtar {
            differ(&mut wrong, path, "bsdtar", &extracted("bsdtar", path), &tree);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    refused
}

/// Notes the first difference between what another reader and ours found in an archive.
pub fn differ<'a, T, I>(
    wrong: &mut String,
    path: &Path,
    who: &str,
    theirs: &'a Result<T, String>,
    ours: &'a T,
) where
    T: PartialEq,
    &'a T: IntoIterator<Item = I>,
    I: PartialEq + std::fmt::Debug,
{
    let Err(why) = (match theirs {
        Err(error) => Err(format!("{who} says {error}")),
        Ok(theirs) if theirs == ours => Ok(()),
        Ok(theirs) => {
            let at = theirs.into_iter().zip(ours).take_while(|(theirs, ours)| theirs == ours).count();
            let (theirs, ours) = (theirs.into_iter().nth(at), ours.into_iter().nth(at));
            Err(format!("entry {at}: {who} reads {theirs:?}, we read {ours:?}"))
        }
    }) else {
        return;
    };
    writeln!(wrong, "{}: {why}", path.display()).unwrap();
}
