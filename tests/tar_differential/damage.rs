//! Archives with a few bytes changed: what we still accept, Python and Go read as we do.
//!
//! The damage aims at what decides: type flags, sizes, magic, names, PAX records, order. Checksums are put right
//! afterwards, or every reader would stop at them. `TAR_DAMAGE` sets another number of archives to try.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::corpus::corpus;
use super::oracles::{PYTHON, Row, differ, go, ours, parse_listing, python, rows, run};

/// xorshift64*: the same archives every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

fn damaged(archive: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = archive.to_vec();
    // Few blocks, so that damage meets headers and not only content.
    bytes.truncate(512 * (1 + dice.below(40)).min(bytes.len() / 512));
    for _ in 0..1 + dice.below(3) {
        let blocks = bytes.len() / 512;
        let at = dice.below(blocks) * 512;
        match dice.below(8) {
            0 => bytes[at + 156] = dice.pick(b"0123456789xgLKSXVDM\0"),
            1 => {
                let size: usize = dice.pick(&[0, 1, 5, 511, 512, 513, 1024, 4096]);
                bytes[at + 124..at + 136].copy_from_slice(format!("{size:011o}\0").as_bytes());
            }
            2 => {
                let magic = dice.pick(&[b"ustar\x0000", b"ustar  \0", b"\0\0\0\0\0\0\0\0"]);
                bytes[at + 257..at + 265].copy_from_slice(magic);
            }
            3 => {
                let field =
                    dice.pick(&[0, 99, 100, 107, 108, 124, 130, 135, 136, 157, 256, 345, 482, 483, 499]);
                bytes[at + field] = dice.pick(b"\0 /.079x\x80\xff-");
            }
            4 => {
                let from = dice.below(blocks) * 512;
                bytes.copy_within(from..from + 512, at);
            }
            5 => {
                let block = bytes[at..at + 512].to_vec();
                let to = dice.below(blocks) * 512;
                bytes.splice(to..to, block);
            }
            6 => drop(bytes.drain(at..at + 512)),
            // Some way into a PAX record, or anything else.
            _ => bytes[at + dice.below(60)] = dice.pick(b"0123456789 =\n/.gx\0"),
        }
        if bytes.len() < 512 {
            break;
        }
    }
    for block in bytes.chunks_exact_mut(512) {
        if block[148..156].iter().all(|byte| matches!(byte, 0 | b' ' | b'0'..=b'7'))
            && block[154] != block[100]
        {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

#[test]
fn damaged_archives_are_read_alike_or_refused() {
    let count: usize = std::env::var("TAR_DAMAGE").map_or(1500, |count| count.parse().unwrap());
    let out = tempfile::tempdir().unwrap();
    let plain = corpus().medium();
    let long = corpus().long();
    let sparse = corpus().sparse();
    let mut seeds = Vec::new();
    for (tree, options) in [
        (&plain, &["--format=ustar"][..]),
        (&long, &["--format=gnu"]),
        (&long, &["--format=pax"]),
        (&sparse, &["--format=gnu", "--sparse"]),
        (&sparse, &["--format=pax", "--sparse", "--sparse-version=0.0"]),
        (&sparse, &["--format=pax", "--sparse", "--sparse-version=0.1"]),
        (&sparse, &["--format=pax", "--sparse", "--sparse-version=1.0"]),
    ] {
        fs::remove_file(tree.at("dir/big")).ok();
        let path = out.path().join("seed.tar");
        tree.tar("tar", options, &path);
        seeds.push(fs::read(path).unwrap());
    }
    let mut dice = Dice(0x7265_6164);
    let mut archives: Vec<(PathBuf, Vec<Row>)> = Vec::new();
    let mut refused = 0;
    for number in 0..count {
        let path = out.path().join(format!("{number}.tar"));
        let seed = dice.below(seeds.len());
        fs::write(&path, damaged(&seeds[seed], &mut dice)).unwrap();
        match ours(&path) {
            Ok(entries) => archives.push((path, rows(&entries))),
            Err(_) => refused += 1,
        }
    }
    assert!(
        archives.len() > count / 20,
        "{refused} of {count} refused: the damage is too great to test anything"
    );
    let mut wrong = String::new();
    for some in archives.chunks(500) {
        let paths: Vec<_> = some.iter().map(|(path, _)| path).collect();
        let mut others = vec![("python", parse_listing(python(PYTHON, &paths)))];
        if let Some(go) = go() {
            others.push(("go", parse_listing(run(Command::new(go).args(&paths)))));
        }
        for (who, theirs) in &others {
            for (path, ours) in some {
                // Python requires an entry after a global header.
                if theirs[path].as_ref().is_err_and(|error| error.contains("end of file header")) {
                    continue;
                }
                differ(&mut wrong, path, who, &theirs[path], ours);
            }
        }
    }
    if !wrong.is_empty() {
        panic!("kept in {}:\n{wrong}", out.keep().display());
    }
}
