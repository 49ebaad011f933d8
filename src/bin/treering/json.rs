//! JSON on standard output: one document per command, one element of a list per line.

use std::io::Write;

use serde::Serialize;
use serde_json::{Map, Value};
use treering::error::escape;

use crate::output::stdout_error;

/// Puts a path into an object: text under `name`, and where the bytes are not UTF-8 also `name_base64` with them all.
pub fn put_path(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            object.insert(name.into(), text.into());
        }
        Err(_) => {
            object.insert(name.into(), escape(bytes).into());
            object.insert(format!("{name}_base64"), base64(bytes).into());
        }
    }
}

/// Writes an indented document.
pub fn document(out: &mut dyn Write, value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    out.write_all(&text).map_err(stdout_error)?;
    Ok(())
}

/// Writes a list while it is made: `[`, one element per line, `]`.
pub fn list<T: Serialize>(out: &mut dyn Write, items: impl Iterator<Item = T>) -> anyhow::Result<()> {
    let mut before = "[\n";
    for item in items {
        out.write_all(before.as_bytes()).map_err(stdout_error)?;
        let text = serde_json::to_vec(&item)?;
        out.write_all(&text).map_err(stdout_error)?;
        before = ",\n";
    }
    let end = if before == "[\n" { "[]\n" } else { "\n]\n" };
    out.write_all(end.as_bytes()).map_err(stdout_error)?;
    Ok(())
}

/// Encodes base64 (RFC 4648, section 4).
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, &byte| word << 8 | byte as u32) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = ALPHABET[(word >> (18 - 6 * i) & 63) as usize] as char;
            out.push(if i <= chunk.len() { digit } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_the_rfc() {
        let table = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, coded) in table {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(b"\xff\xfe\xfd"), "//79");
    }

    #[test]
    fn lists_are_documents_with_an_element_per_line() {
        let text = |items: &[u32]| {
            let mut out = Vec::new();
            list(&mut out, items.iter()).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(&[]), "[]\n");
        assert_eq!(text(&[1]), "[\n1\n]\n");
        assert_eq!(text(&[1, 2]), "[\n1,\n2\n]\n");
    }

    #[test]
    fn paths_that_are_not_text_come_twice() {
        let mut object = Map::new();
        put_path(&mut object, "path", b"/caf\xe9");
        put_path(&mut object, "target", b"x");
        let text = Value::Object(object).to_string();
        assert_eq!(text, r#"{"path":"/caf\\xe9","path_base64":"L2NhZuk=","target":"x"}"#);
    }
}
