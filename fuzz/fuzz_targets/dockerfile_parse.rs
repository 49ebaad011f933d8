//! A Dockerfile is parsed or refused; what is refused has a place within the file, and checks hold for what is parsed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use treering::dockerfile::{Checks, Dockerfile, Facts};

fuzz_target!(|data: &[u8]| match Dockerfile::parse(b"Dockerfile", data) {
    Ok(file) => {
        assert!(!file.stages.is_empty());
        let facts = Facts { build_arg: &|_| None, ignore: None, base: &|_| Some(Default::default()) };
        let lines = data.split(|b| *b == b'\n').count();
        for warning in file.check(&Checks::default(), &facts) {
            assert!(warning.location.line >= 1 && warning.location.line as usize <= lines);
        }
    }
    Err(error) => {
        if let Some(location) = error.location() {
            assert!(location.line as usize <= data.split(|b| *b == b'\n').count());
        }
    }
});
