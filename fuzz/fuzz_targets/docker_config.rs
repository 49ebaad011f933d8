//! A file of credentials is read or refused, and no error repeats what is in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use treering::registry::credentials_in;

fuzz_target!(|input: (&[u8], &str, &str)| {
    let (bytes, registry, repository) = input;
    if let Err(error) = credentials_in(bytes, registry, repository) {
        let text = error.to_string();
        // Anything as long as a secret would be is from the input.
        let words = bytes.split(|b| !b.is_ascii_alphanumeric()).filter(|word| word.len() >= 16);
        for word in words {
            let word = std::str::from_utf8(word).expect("letters and digits");
            assert!(!text.contains(word), "{text}");
        }
    }
});
