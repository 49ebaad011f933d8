//! Dockerfiles that are none, or too much: an error that says so, soon, and nothing in the store.

use std::time::{Duration, Instant};

use super::*;

#[test]
fn what_is_no_dockerfile_is_an_error_soon() {
    let place = Place::new();
    let binary: String = (0..40_000u32).map(|i| char::from((i * 7919 % 128) as u8)).collect();
    let stages: String = (0..10_000).map(|i| format!("FROM scratch AS s{i}\n")).collect();
    let chain: String = (0..10_000).map(|i| format!("COPY --from={i} a b\n")).collect();
    let table: &[(&str, Vec<u8>, Option<ErrorKind>)] = &[
        ("empty", Vec::new(), Some(ErrorKind::Syntax)),
        ("blank", b"\n \t\n# nothing\n".to_vec(), Some(ErrorKind::Syntax)),
        ("a mark of order alone", b"\xef\xbb\xbf".to_vec(), Some(ErrorKind::Syntax)),
        ("binary", binary.clone().into_bytes(), Some(ErrorKind::Syntax)),
        ("binary behind FROM", format!("FROM scratch\n{binary}").into_bytes(), Some(ErrorKind::Syntax)),
        ("no UTF-8", b"FROM scratch\nCOPY \xff\xfe /\n".to_vec(), Some(ErrorKind::Syntax)),
        ("100 MB", b"FROM scratch\n".repeat(8_000_000), Some(ErrorKind::Limit)),
        ("one line of 100 MB", vec![b'x'; 100 << 20], Some(ErrorKind::Limit)),
        ("10,000 stages", stages.clone().into_bytes(), Some(ErrorKind::Limit)),
        (
            "10,000 continued lines",
            format!("FROM scratch\nENV a=1 {}", "\\\n".repeat(10_000)).into_bytes(),
            None,
        ),
        ("10,000 copies", format!("FROM scratch\n{chain}").into_bytes(), Some(ErrorKind::Syntax)),
    ];
    for (what, text, kind) in table {
        for by_path in [false, true] {
            let path = place.scratch.join("given");
            std::fs::write(&path, text).unwrap();
            let dockerfile = match by_path {
                true => DockerfileSource::Path(path),
                false => DockerfileSource::Text(text.clone()),
            };
            let began = Instant::now();
            let options = BuildOptions { dockerfile, ..place.options("") };
            let result = build(&place.store, &options, &Control::default());
            assert!(began.elapsed() < Duration::from_secs(5), "{what}: {:?}", began.elapsed());
            match result {
                Ok(_) => assert_eq!(*kind, None, "{what}"),
                Err(error) => {
                    assert_eq!(Some(error.kind()), *kind, "{what}: {error}");
                    assert!(
                        error.to_string().len() < 4096,
                        "{what}: an error of {} bytes",
                        error.to_string().len()
                    );
                }
            }
        }
    }
    let names = |entry: &treering::store::Entry| entry.name.is_some();
    assert!(place.store.entries().unwrap().iter().filter(|entry| names(entry)).count() <= 1);
}
