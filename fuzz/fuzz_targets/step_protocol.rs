//! Orders and messages of the helper of a step are refused or come back as they were.
#![no_main]

use libfuzzer_sys::fuzz_target;
use treering::sandbox::fuzzed;

fuzz_target!(|bytes: &[u8]| {
    fuzzed::order(bytes);
    fuzzed::messages(bytes);
});
