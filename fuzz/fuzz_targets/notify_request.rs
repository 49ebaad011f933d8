//! The supervisor answers all that a step's process asks for.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use treering::sandbox::fuzzed::Requests;

thread_local! {
    static REQUESTS: RefCell<Requests> = {
        // In memory, and two deep: `..` leads to a directory of this process alone.
        let above = std::path::Path::new("/dev/shm").join(format!("treering-fuzz-{}", std::process::id()));
        let directory = above.join("inner");
        std::fs::create_dir_all(&directory).expect("a directory in memory");
        RefCell::new(Requests::new(&directory).expect("a process"))
    };
}

fuzz_target!(|bytes: &[u8]| REQUESTS.with_borrow_mut(|requests| requests.answer(bytes)));
