//! Strict JSON (image-spec, considerations.md, "JSON"): UTF-8, no duplicate names, bounded depth.

use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::limits::Limits;
use crate::error::{Error, Result};

/// How deep the parser itself goes.
const PARSER_DEPTH: usize = 127;

/// Parses a whole document. `name` is what an error calls it (a digest or a file name).
///
/// Object members keep their order. Fails with [`crate::ErrorKind::Limit`] over the size or depth cap of `limits`, with
/// [`crate::ErrorKind::Corrupt`] when the bytes are not JSON, when anything follows the document, or when a name
/// appears twice in one object: readers disagree about which of the two counts.
pub fn parse(bytes: &[u8], name: &str, limits: &Limits) -> Result<Value> {
    parse_file(bytes, name, limits)
}

/// Does what [`parse`] does, for a name that need not be text.
pub(super) fn parse_file(bytes: &[u8], name: impl AsRef<[u8]>, limits: &Limits) -> Result<Value> {
    let name = name.as_ref();
    limits.check_json("read JSON", name, bytes.len() as u64)?;
    let cap = limits.json_depth.min(PARSER_DEPTH);
    if too_deep(bytes, cap) {
        let message = format!("nested more than {cap} levels deep");
        return Err(Error::limit("read JSON", message).with_path(name));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    // The depth was bounded above, by our own cap.
    let value = Strict.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| Error::corrupt("read JSON", describe(&error)).with_path(name).with_source(error))
}

/// Serialises a document compactly, members in the order they have: the same value always gives the same bytes.
pub fn to_bytes(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::corrupt("write JSON", "a value cannot be written as JSON").with_source(error))
}

fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.contains("duplicate name") { text } else { format!("not valid JSON: {text}") }
}

/// Counts brackets outside strings: no recursion, so hostile nesting cannot reach the stack.
fn too_deep(bytes: &[u8], cap: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > cap {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(value) = seq.next_element_seed(Strict)? {
            out.push(value);
        }
        Ok(Value::Array(out))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(Strict)?;
            if out.contains_key(&name) {
                let shown: String = name.chars().take(64).collect();
                return Err(A::Error::custom(format!("duplicate name {shown:?}")));
            }
            out.insert(name, value);
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn kind(text: &str) -> ErrorKind {
        parse(text.as_bytes(), "x", &Limits::default()).unwrap_err().kind()
    }

    #[test]
    fn order_and_numbers_survive() {
        let text = r#"{"z":1,"a":[true,null,-3,18446744073709551615,"é"],"m":{"b":1.5,"a":2}}"#;
        let value = parse(text.as_bytes(), "x", &Limits::default()).unwrap();
        assert_eq!(to_bytes(&value).unwrap(), text.as_bytes());
    }

    #[test]
    fn hostile_documents_are_refused() {
        let deep = "[".repeat(100_000);
        let cases: &[(&str, ErrorKind)] = &[
            ("", ErrorKind::Corrupt),
            ("{} {}", ErrorKind::Corrupt),
            ("{}x", ErrorKind::Corrupt),
            ("{\"a\":1,\"a\":1}", ErrorKind::Corrupt),
            ("{\"a\":1,\"\\u0061\":2}", ErrorKind::Corrupt),
            ("[{\"b\":{\"c\":1,\"c\":1}}]", ErrorKind::Corrupt),
            ("{'a':1}", ErrorKind::Corrupt),
            ("1e999", ErrorKind::Corrupt),
            ("\"\\ud800\"", ErrorKind::Corrupt),
            (&deep, ErrorKind::Limit),
        ];
        for (text, expected) in cases {
            assert_eq!(kind(text), *expected, "{}", &text[..text.len().min(40)]);
        }
        assert!(parse(b"\"\xff\"", "x", &Limits::default()).is_err());
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(parse(nested(64).as_bytes(), "x", &Limits::default()).is_ok());
        assert_eq!(kind(&nested(65)), ErrorKind::Limit);
        let deep = Limits { json_depth: usize::MAX, ..Limits::default() };
        assert!(parse(nested(127).as_bytes(), "x", &deep).is_ok());
        assert_eq!(parse(nested(128).as_bytes(), "x", &deep).unwrap_err().kind(), ErrorKind::Limit);
        let tiny = Limits { json_bytes: 1, ..Limits::default() };
        assert_eq!(parse(b"[]", "x", &tiny).unwrap_err().kind(), ErrorKind::Limit);
    }
}
