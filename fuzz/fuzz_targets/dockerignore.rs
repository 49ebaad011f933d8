//! An ignore file is read or refused, the same each time, and a path below an ignored directory is ignored unless a `!`
//! pattern may take it in again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use treering::dockerfile::Ignore;

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (lines, path) = input;
    let Ok(ignore) = Ignore::parse(b".dockerignore", &lines) else {
        assert!(Ignore::parse(b".dockerignore", &lines).is_err());
        return;
    };
    for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
        if ignore.is_ignored(&path[..at]) && !ignore.may_keep_below(&path[..at]) {
            assert!(ignore.is_ignored(&path));
        }
    }
});
