//! A `WWW-Authenticate` field means the same after it is written out and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use treering::registry::parse_challenges;

fuzz_target!(|text: &str| {
    let challenges = parse_challenges(text);
    let written: Vec<String> = challenges
        .iter()
        .map(|one| {
            let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let parameters: Vec<String> =
                one.parameters().map(|(name, value)| format!("{name}=\"{}\"", quote(value))).collect();
            format!("{} {}", one.scheme, parameters.join(","))
        })
        .collect();
    assert_eq!(parse_challenges(&written.join(", ")), challenges, "{text:?}");
});
