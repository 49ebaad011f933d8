//! Expanding is deterministic, text without special characters stays as it is, and what is quoted comes out as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use treering::dockerfile::expand;

fuzz_target!(|input: (String, Option<String>)| {
    let (text, value) = input;
    let get = |name: &str| value.clone().filter(|_| name.len() == 1);
    let once = expand(&text, &get).ok();
    assert_eq!(once, expand(&text, &get).ok());
    if !text.contains(['$', '\\', '"', '\'']) {
        assert_eq!(once.as_deref(), Some(text.as_str()));
    }
    let quoted = format!("'{}'", text.replace('\'', "'\"'\"'"));
    assert_eq!(expand(&quoted, &get).unwrap(), text);
});
