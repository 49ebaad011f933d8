//! The version of the language, and what `# syntax=` asks for.
//!
//! A frontend is an image that BuildKit runs to read the file. None is run here, so a file that asks for another language, or for
//! a newer one, is read as this one.

/// The version of `docker/dockerfile` that is implemented.
const VERSION: (u32, u32) = (1, 26);

/// Returns a warning for a frontend that is not this language, or a newer version of it.
pub(crate) fn other_language(frontend: &str) -> Option<String> {
    let (name, _) = frontend.split_once('@').unwrap_or((frontend, ""));
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let (name, tag) = name.split_once(':').unwrap_or((name, "latest"));
    let ours = ["docker/dockerfile", "docker/dockerfile-upstream"].contains(&name) && is_known(tag);
    let (major, minor) = VERSION;
    (!ours).then(|| {
        format!(
            "the file is read as docker/dockerfile:{major}.{minor}, not as {frontend}: no frontend is run"
        )
    })
}

/// Returns whether a tag names no newer version: `1`, `1.7`, `1.7.1`, with `-labs` or another addition behind it, or none.
fn is_known(tag: &str) -> bool {
    if ["latest", "stable", "labs", "experimental", "master"].contains(&tag) {
        return true;
    }
    let number = tag.split('-').next().unwrap_or_default();
    let mut parts = number.split('.').map(|part| part.parse::<u32>().ok());
    match (parts.next().flatten(), parts.next()) {
        (Some(major), None) => major <= VERSION.0,
        (Some(major), Some(Some(minor))) => (major, minor) <= VERSION,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_language_and_a_newer_version_are_warned_of() {
        for known in [
            "docker/dockerfile",
            "docker/dockerfile:1",
            "docker.io/docker/dockerfile:1.7-labs",
            "docker/dockerfile:1.26.3",
            "docker/dockerfile:labs",
            "docker/dockerfile:1.4@sha256:00",
            "docker/dockerfile-upstream:master",
            "docker/dockerfile:1.0-experimental",
        ] {
            assert_eq!(other_language(known), None, "{known}");
        }
        for other in [
            "docker/dockerfile:2",
            "docker/dockerfile:1.27",
            "docker/dockerfile:1.27.0-rc1",
            "docker/dockerfile:next",
            "docker/dockerfile:1.x",
            "example.org/docker/dockerfile:1",
            "tonistiigi/dockerfile:1",
            "",
        ] {
            assert!(other_language(other).is_some_and(|message| message.contains(other)), "{other}");
        }
    }
}
