//! The first bytes of a program that a step executes are understood or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use treering::sandbox::fuzzed;

fuzz_target!(|bytes: &[u8]| fuzzed::program(bytes));
