use std::io::Read;

use proptest::prelude::*;

use super::*;

/// Databases of the same two packages; `data/README.md` says what wrote them.
const DATA: [(&str, &[u8]); 4] = [
    ("sqlite", include_bytes!("data/sqlite.gz")),
    ("ndb", include_bytes!("data/ndb.gz")),
    ("berkeley-little", include_bytes!("data/berkeley-little.gz")),
    ("berkeley-big", include_bytes!("data/berkeley-big.gz")),
];

fn data() -> Vec<(&'static str, Vec<u8>)> {
    let plain = |packed: &[u8]| {
        let mut out = Vec::new();
        flate2::read::GzDecoder::new(packed).read_to_end(&mut out).unwrap();
        out
    };
    DATA.iter().map(|(name, packed)| (*name, plain(packed))).collect()
}

fn names(found: &[Package]) -> Vec<&str> {
    let mut names: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
    names.sort_unstable();
    names
}

/// Returns how many bytes of headers a database gives, and their number.
fn taken(file: &[u8]) -> (usize, usize) {
    let (mut bytes, mut count) = (0, 0);
    let mut take = |header: &[u8]| {
        bytes += header.len();
        count += 1;
        Some(())
    };
    if file.starts_with(sqlite::MAGIC) {
        sqlite::each_header(file, &mut take);
    } else if file.starts_with(ndb::MAGIC) {
        ndb::each_header(file, &mut take);
    } else {
        berkeley::each_header(file, &mut take);
    }
    (bytes, count)
}

/// Returns a header with texts.
fn header(fields: &[(u32, &str)]) -> Vec<u8> {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (tag, text) in fields {
        for number in [*tag, STRING, data.len() as u32, 1] {
            entries.extend(number.to_be_bytes());
        }
        data.extend(text.as_bytes());
        data.push(0);
    }
    let mut out = (fields.len() as u32).to_be_bytes().to_vec();
    out.extend((data.len() as u32).to_be_bytes());
    [out, entries, data].concat()
}

/// Returns a database of rpm's own kind, where slots point to blocks of `headers` by number.
fn ndb(headers: &[Vec<u8>], slots: &[usize]) -> Vec<u8> {
    let pages = (slots.len() + 2).div_ceil(256);
    let mut out = b"RpmP".to_vec();
    for number in [0, 1, pages as u32, 9, 0, 0, 0] {
        out.extend(number.to_le_bytes());
    }
    let mut places = Vec::new();
    let mut blocks = Vec::new();
    for (number, header) in headers.iter().enumerate() {
        let start = pages * 256 + blocks.len() / 16;
        blocks.extend(b"BlbS");
        for word in [number as u32 + 1, 1, header.len() as u32] {
            blocks.extend(word.to_le_bytes());
        }
        blocks.extend(header);
        blocks.extend([0; 12]);
        blocks.resize(blocks.len().next_multiple_of(16), 0);
        places.push((start as u32, (pages * 256 + blocks.len() / 16) as u32 - start as u32));
    }
    for slot in 0..pages * 256 - 2 {
        out.extend(b"Slot");
        let place = slots.get(slot).map_or([0; 3], |at| [*at as u32 + 1, places[*at].0, places[*at].1]);
        for word in place {
            out.extend(word.to_le_bytes());
        }
    }
    [out, blocks].concat()
}

#[test]
fn databases_of_all_kinds_list_the_same_packages() {
    for (name, file) in data() {
        let (mut found, is_whole) = packages(&file, 9);
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let expected = [
            Package {
                name: "hello".into(),
                version: "1:2.1-3".into(),
                architecture: "x86_64".into(),
                bytes: 5000,
                manager: "rpm",
                licence: "GPL-2.0-or-later AND MIT".into(),
                vendor: "The Example Project".into(),
            },
            Package {
                name: "words".into(),
                version: "20-1".into(),
                architecture: "noarch".into(),
                bytes: 300,
                manager: "rpm",
                licence: "GPLv2+".into(),
                vendor: String::new(),
            },
        ];
        assert_eq!((&found[..], is_whole), (&expected[..], true), "{name}");
    }
}

#[test]
fn a_database_that_ends_early_is_not_whole() {
    for (name, mut file) in data() {
        let length = file.len();
        assert_eq!(packages(&file, 1).0.len(), 1, "{name}");
        assert!(!packages(&file, 1).1, "{name}: more than are wanted");
        file.truncate(length / 2);
        assert!(!packages(&file, 9).1, "{name}");
        file.truncate(40);
        assert_eq!(packages(&file, 9), (Vec::new(), false), "{name}");
    }
    assert_eq!(packages(b"", 9), (Vec::new(), true));
    assert_eq!(packages(b"something else", 9), (Vec::new(), false));
}

#[test]
fn keys_are_no_packages_and_a_broken_header_hides_no_other() {
    let package = |name: &str| header(&[(tag::NAME, name), (tag::VERSION, "1")]);
    let file = ndb(&[package("gpg-pubkey"), package("a")], &[0, 1]);
    let (found, is_whole) = packages(&file, 9);
    assert_eq!((names(&found), is_whole), (vec!["a"], true));
    assert_eq!(found[0].version, "1", "without a release");
    let mut broken = package("b");
    broken[0] = 1;
    let file = ndb(&[broken, package("c"), header(&[(tag::VERSION, "1")])], &[0, 1, 2]);
    let (found, is_whole) = packages(&file, 9);
    assert_eq!((names(&found), is_whole), (vec!["c"], false));
}

#[test]
fn texts_have_a_bounded_length() {
    let long = "x".repeat(MAX_LICENCE + 1);
    let file = ndb(
        &[
            header(&[(tag::NAME, &long)]),
            header(&[(tag::NAME, "a"), (tag::VERSION, &long), (tag::LICENSE, &long), (tag::VENDOR, &long)]),
        ],
        &[0, 1],
    );
    let (found, _) = packages(&file, 9);
    assert_eq!(names(&found), ["a"]);
    let Package { version, licence, vendor, .. } = &found[0];
    assert_eq!((version.as_str(), licence.as_str(), vendor.as_str()), ("", "", ""));
}

/// What points to itself is read once at most, and one header that many point to no more often than would fit in the file.
#[test]
fn a_database_that_goes_in_circles_ends() {
    let many = ndb(&[header(&[(tag::NAME, &"x".repeat(5000))])], &[0; 4000]);
    let (bytes, count) = taken(&many);
    assert!(bytes <= many.len() && count > 1, "{bytes} of {}", many.len());
    assert!(!packages(&many, usize::MAX).1);

    let [(_, sqlite), _, (_, little), _] = <[_; 4]>::try_from(data()).unwrap();
    // The table is on page 2: an interior page with itself as its last child.
    let mut circle = sqlite.clone();
    circle[4096..4096 + 12].copy_from_slice(&[5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    assert_eq!(packages(&circle, 9), (Vec::new(), false));
    // A leaf where all cells are one: a row of 114688 bytes that goes on in page 3, which is followed by itself.
    let mut circle = sqlite;
    circle[4096..8192].fill(0);
    circle[4096..4096 + 8].copy_from_slice(&[13, 0, 0, 4, 0, 0, 0, 0]);
    for cell in 0..1024 {
        circle[4096 + 8 + 2 * cell..][..2].copy_from_slice(&2100u16.to_be_bytes());
    }
    let columns = [5, 0, 0x8e, 0x80, 0];
    circle[4096 + 2100..][..9].copy_from_slice(&[&[0x87, 0x80, 0, 1][..], &columns].concat());
    circle[4096 + 2100 + 4 + 489..][..4].copy_from_slice(&3u32.to_be_bytes());
    circle[8192..8192 + 4].copy_from_slice(&3u32.to_be_bytes());
    let (bytes, count) = taken(&circle);
    assert!(bytes <= circle.len() && count >= 1, "{bytes} of {}", circle.len());

    // Each page of what does not fit into one is followed by itself.
    let mut circle = little;
    let overflow: Vec<usize> =
        (0..circle.len() / 4096).filter(|page| circle[page * 4096 + 25] == 7).collect();
    assert!(!overflow.is_empty());
    for page in overflow {
        circle[page * 4096 + 16..][..4].copy_from_slice(&(page as u32).to_le_bytes());
    }
    assert!(taken(&circle).0 <= circle.len());
    circle[32..36].fill(0xff);
    assert!(!packages(&circle, 9).1, "four thousand million pages are none");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any bytes in any places: no panic, and never more than the file has.
    #[test]
    fn damaged_databases_are_read_within_bounds(
        which in 0..DATA.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..24),
        near in prop::collection::vec((0..200usize, any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (_, mut file) = data().swap_remove(which);
        let length = file.len();
        for (at, byte) in edits {
            file[at.index(length)] = byte;
        }
        // Most of what counts is at the beginning of pages.
        for (at, page, byte) in near {
            file[(page.index(length / 4096) * 4096 + at).min(length - 1)] = byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(length));
        }
        let (found, _) = packages(&file, 5);
        prop_assert!(found.len() <= 5);
        prop_assert!(taken(&file).0 <= file.len());
    }

    #[test]
    fn any_bytes_are_a_database_or_none(kind in 0..4usize, mut bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let start: &[u8] = [sqlite::MAGIC, ndb::MAGIC, b"\0\0\0\0\0\0\0\0\0\0\0\0\x61\x15\x06\0", b""][kind];
        let at = start.len().min(bytes.len());
        bytes[..at].copy_from_slice(&start[..at]);
        packages(&bytes, 9);
        prop_assert!(taken(&bytes).0 <= bytes.len());
    }
}
