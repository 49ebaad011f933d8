//! Packages that a language's own installer put into an image: pip's and npm's.

use serde_json::Value;

use crate::image::Package;

/// The largest list that is read, in bytes.
pub(super) const MAX_LIST: u64 = 1 << 20;
/// How long a name or a version may be, in bytes; others are none.
const MAX_NAME: usize = 255;

/// Returns whether a file of this path describes a package.
pub(super) fn is_list(path: &[u8]) -> bool {
    let below = |mark: &[u8]| path.windows(mark.len()).any(|part| part == mark);
    match path.rsplit(|byte| *byte == b'/').next() {
        Some(b"METADATA") => path.ends_with(b".dist-info/METADATA"),
        Some(b"package.json") => below(b"node_modules/") && npm_name(path).is_some(),
        _ => false,
    }
}

/// Returns the name of a package that its place says: `node_modules/NAME` or `node_modules/@SCOPE/NAME`.
fn npm_name(path: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(path).ok()?;
    let at = text.rfind("node_modules/").filter(|at| *at == 0 || text.as_bytes()[at - 1] == b'/')?;
    let name = text[at + "node_modules/".len()..].strip_suffix("/package.json")?;
    let parts = name.split('/').count();
    (parts == if name.starts_with('@') { 2 } else { 1 }).then(|| name.to_string())
}

/// Reads such a file. `None` where it describes nothing.
pub(super) fn parse(path: &[u8], bytes: &[u8]) -> Option<Package> {
    let package = |name: &str, version: &str, manager: &'static str, licence: String| {
        let fits = |text: &str| !text.is_empty() && text.len() <= MAX_NAME;
        (fits(name) && fits(version)).then(|| Package {
            name: name.into(),
            version: version.into(),
            architecture: String::new(),
            bytes: 0,
            manager,
            licence,
            vendor: String::new(),
        })
    };
    if path.ends_with(b"/METADATA") {
        // Headers as those of a mail (core metadata), up to an empty line.
        let text = String::from_utf8_lossy(bytes);
        let field = |name: &str| {
            let headers = text.lines().take_while(|line| !line.is_empty());
            let mut found = headers.filter_map(|line| line.split_once(':'));
            found
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim().to_string())
        };
        let licence = field("License-Expression").or_else(|| field("License")).unwrap_or_default();
        return package(&field("Name")?, &field("Version")?, "pip", licence);
    }
    let document: Value = serde_json::from_slice(bytes).ok()?;
    let version = document["version"].as_str()?;
    let licence = document["license"].as_str().unwrap_or_default().to_string();
    // The name that the place says is the one by which it is found.
    package(&npm_name(path)?, version, "npm", licence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_where_installers_put_them() {
        for (path, expected) in [
            ("usr/lib/python3/dist-packages/six-1.16.0.dist-info/METADATA", true),
            ("app/node_modules/left-pad/package.json", true),
            ("node_modules/@types/node/package.json", true),
            ("app/node_modules/a/node_modules/b/package.json", true),
            ("app/node_modules/a/lib/package.json", false),
            ("app/node_modules/@types/package.json", false),
            ("app/my_node_modules/a/package.json", false),
            ("app/package.json", false),
            ("METADATA", false),
            ("x/METADATA", false),
        ] {
            assert_eq!(is_list(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn packages_have_the_names_that_they_are_found_by() {
        let read = |path: &str, text: &str| {
            let Package { manager, name, version, licence, .. } = parse(path.as_bytes(), text.as_bytes())?;
            Some(format!("{manager} {name} {version} {licence}"))
        };
        let six = "Metadata-Version: 2.1\nName: six\nVersion: 1.16.0\nLicense: MIT\n\nName: other\n";
        assert_eq!(read("six.dist-info/METADATA", six).as_deref(), Some("pip six 1.16.0 MIT"));
        let node = r#"{"name": "another", "version": "1.2.3", "license": "Apache-2.0"}"#;
        let path = "node_modules/@types/node/package.json";
        assert_eq!(read(path, node).as_deref(), Some("npm @types/node 1.2.3 Apache-2.0"));
        for (path, text) in [
            ("six.dist-info/METADATA", "Name: six\n"),
            ("node_modules/a/package.json", "{"),
            ("node_modules/a/package.json", "{\"version\": 1}"),
            ("node_modules/a/package.json", "{}"),
        ] {
            assert_eq!(read(path, text), None, "{text}");
        }
    }
}
