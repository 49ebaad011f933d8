//! Addresses of git repositories: what is fetched, and which part of it.

use super::source::Fault;

/// A repository and what to take of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct GitSource {
    /// The address that git is given: without fragment and query.
    pub(crate) address: String,
    /// A branch, a tag, a full name (`refs/…`) or a commit; the server's choice without one.
    pub(crate) reference: Option<String>,
    /// The directory to take.
    pub(crate) subdir: Option<String>,
    /// The beginning of the commit's digest.
    pub(crate) checksum: Option<String>,
    pub(crate) keep_git_dir: Option<bool>,
    pub(crate) submodules: Option<bool>,
    /// Whether the commit is fetched that `checksum` names, whatever the reference means now.
    pub(crate) by_commit: bool,
}

/// Returns whether an address is one of a file or repository elsewhere.
pub(crate) fn is_address(text: &str) -> bool {
    is_http(text) || ["git://", "ssh://", "git@"].iter().any(|scheme| text.starts_with(scheme))
}

fn is_http(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

impl GitSource {
    /// Reads an address, as BuildKit does: `#REF:DIR`, or keys in a query. `None` for an address of something else. `context` takes
    /// `github.com/…` for a repository as well.
    pub(crate) fn parse(text: &str, context: bool) -> Result<Option<GitSource>, Fault> {
        let (before, fragment) = text.split_once('#').map_or((text, None), |(a, b)| (a, Some(b)));
        let (bare, query) = match is_address(text) && !text.starts_with("git@") {
            true => before.split_once('?').map_or((before, None), |(a, b)| (a, Some(b))),
            false => (before, None),
        };
        let short = context && text.starts_with("github.com/");
        let is_git = if is_http(bare) { bare.ends_with(".git") } else { short || is_address(bare) };
        if !is_git {
            return Ok(None);
        }
        let mut out = GitSource {
            address: if short { format!("https://{bare}") } else { bare.to_string() },
            ..GitSource::default()
        };
        check_address(&out.address)?;
        if let Some(fragment) = fragment {
            let (reference, subdir) = fragment.split_once(':').map_or((fragment, ""), |pair| pair);
            out.reference = Some(reference).filter(|text| !text.is_empty()).map(String::from);
            out.subdir = Some(subdir).filter(|text| !text.is_empty()).map(String::from);
        }
        for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value)?;
            let switch = || match value.as_str() {
                "" | "1" | "true" => Ok(true),
                "0" | "false" => Ok(false),
                _ => Err(Fault::new(format!("{key} of the address takes true or false, not {value:?}"))),
            };
            let slot = match key {
                "ref" | "tag" | "branch" => &mut out.reference,
                "subdir" => &mut out.subdir,
                "checksum" | "commit" => &mut out.checksum,
                "keep-git-dir" => {
                    out.keep_git_dir = Some(switch()?);
                    continue;
                }
                "submodules" => {
                    out.submodules = Some(switch()?);
                    continue;
                }
                "fetch-by-commit" => {
                    out.by_commit = switch()?;
                    continue;
                }
                // Files have the time of the commit in any case: what is built is the same each time.
                "mtime" => match value.as_str() {
                    "commit" | "checkout" => continue,
                    _ => {
                        let message = format!("mtime of the address takes commit or checkout, not {value:?}");
                        return Err(Fault::new(message));
                    }
                },
                _ => {
                    let hint = "it takes ref, tag, branch, checksum, subdir, keep-git-dir, submodules, fetch-by-commit and mtime";
                    return Err(Fault::new(format!("a git address has no key {key:?}")).with_hint(hint));
                }
            };
            if slot.is_some() {
                return Err(Fault::new(format!("the address has {key} and another one of its kind")));
            }
            let value = match key {
                "tag" => format!("refs/tags/{value}"),
                "branch" => format!("refs/heads/{value}"),
                _ => value,
            };
            *slot = Some(value);
        }
        out.reference.as_deref().map_or(Ok(()), check_reference)?;
        if let Some(checksum) = &out.checksum {
            check_commit(checksum)?;
        }
        if out.by_commit && out.commit().is_none() {
            return Err(Fault::new("fetch-by-commit needs the commit with all of its 40 digits")
                .with_hint("as in ?branch=main&commit=…&fetch-by-commit=true"));
        }
        Ok(Some(out))
    }

    /// Returns the commit, where the address has the whole of it and nothing has to be asked.
    pub(crate) fn commit(&self) -> Option<&str> {
        let named = if self.by_commit { self.checksum.as_deref() } else { None };
        named.or(self.reference.as_deref()).filter(|text| text.len() == 40 && is_hex(text))
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Refuses what is not the beginning of a commit's digest.
pub(crate) fn check_commit(text: &str) -> Result<(), Fault> {
    match (7..=64).contains(&text.len()) && is_hex(text) {
        true => Ok(()),
        false => Err(Fault::new(format!("{text:?} is not the digest of a commit"))
            .with_hint("at least 7 hexadecimal digits, in lower case")),
    }
}

/// Refuses an address that git or ssh would take for an option, or that holds a secret.
fn check_address(text: &str) -> Result<(), Fault> {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !br#"'"\`$;|&<>(){}"#.contains(&byte));
    if !plain {
        return Err(Fault::new("the address has characters that no address of a repository has"));
    }
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let scp = !text.contains("://");
    let authority = if scp { rest.split(':').next() } else { rest.split('/').next() }.unwrap_or_default();
    if is_http(text) && authority.contains('@') {
        return Err(Fault::new("an address must not carry a user name or a password")
            .with_hint("give it as the secret GIT_AUTH_TOKEN"));
    }
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() || host.starts_with('-') || user.starts_with('-') || user.contains(':') {
        return Err(Fault::new("the address has no host that can be asked"));
    }
    if scp && rest.split_once(':').is_none_or(|(_, path)| path.is_empty() || path.starts_with('-')) {
        return Err(
            Fault::new("the address has no path").with_hint("as in git@host.example:team/project.git")
        );
    }
    Ok(())
}

/// Refuses what is no name of a reference (git-check-ref-format(1)), and what git would take for an option.
fn check_reference(text: &str) -> Result<(), Fault> {
    let bad = text.is_empty()
        || text.len() > 1024
        || text.starts_with(['-', '/', '.'])
        || text.ends_with(['/', '.'])
        || text.ends_with(".lock")
        || text.contains("..")
        || text.contains("//")
        || text.contains("@{")
        || text == "@"
        || text.contains("/.")
        || text.bytes().any(|byte| byte <= b' ' || byte == 0x7f || b"~^:?*[\\".contains(&byte));
    match bad {
        true => Err(Fault::new(format!("{text:?} is not the name of a branch, tag or commit"))),
        false => Ok(()),
    }
}

/// Decodes a value of a query (RFC 3986, 2.1).
fn decoded(text: &str) -> Result<String, Fault> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = [bytes.next(), bytes.next()].map(|byte| byte.map_or(' ', char::from));
                let value = digits.map(|digit| digit.to_digit(16));
                let [Some(high), Some(low)] = value else {
                    return Err(Fault::new(format!("{text:?} is not encoded as an address")));
                };
                out.push((high * 16 + low) as u8);
            }
            b'+' => out.push(b' '),
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).map_err(|_| Fault::new(format!("{text:?} is not encoded as an address")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> GitSource {
        GitSource::parse(text, true).unwrap().unwrap()
    }

    #[test]
    fn addresses_of_repositories() {
        let one = parsed("https://h.example/p.git#v1:a/b");
        assert_eq!(one.address, "https://h.example/p.git");
        assert_eq!((one.reference.as_deref(), one.subdir.as_deref()), (Some("v1"), Some("a/b")));
        let two = parsed("https://h.example/p.git?branch=x%2Fy&subdir=s&commit=0123456&submodules=false");
        assert_eq!(two.reference.as_deref(), Some("refs/heads/x/y"));
        assert_eq!((two.subdir.as_deref(), two.checksum.as_deref()), (Some("s"), Some("0123456")));
        assert_eq!(two.submodules, Some(false));
        let commit = "0123456789".repeat(4);
        let three =
            parsed(&format!("https://h.example/p.git?branch=b&commit={commit}&fetch-by-commit&mtime=commit"));
        assert_eq!(three.commit(), Some(&commit[..]));
        let four = parsed(&format!("https://h.example/p.git?branch=b&commit={commit}&fetch-by-commit=false"));
        assert_eq!(four.commit(), None);
        assert_eq!(parsed("git@h.example:p.git#:d").subdir.as_deref(), Some("d"));
        assert_eq!(parsed("github.com/a/b").address, "https://github.com/a/b");
        assert_eq!(parsed("ssh://git@h.example/p").address, "ssh://git@h.example/p");
        for text in ["https://h.example/file.tar", "http://h.example/", "a.git", "github.com/a/b"] {
            assert_eq!(GitSource::parse(text, false), Ok(None), "{text}");
        }
    }

    #[test]
    fn what_git_could_take_for_something_else_is_refused() {
        for text in [
            "https://h/p.git#-x",
            "https://h/p.git#--upload-pack=x",
            "https://h/p.git#a..b",
            "https://h/p.git#a b",
            "https://h/p.git#a^{}",
            "https://h/p.git#refs/../x",
            "https://h/p.git?ref=%2D%2Dexec",
            "https://h/p.git?ref=a&branch=b",
            "https://h/p.git?other=1",
            "https://h/p.git?commit=xyz",
            "https://user:pass@h/p.git",
            "https://-h/p.git",
            "ssh://-oProxyCommand=x/p.git",
            "ssh://-l@h/p.git",
            "git@-h:p.git",
            "git@h.example:-p.git",
            "git@h.example",
            "https://h/$(x).git",
            "https://h/a b.git",
            "https://h/p.git?ref=%zz",
            "https://h/p.git?mtime=now",
            "https://h/p.git?branch=b&fetch-by-commit=true",
            "https://h/p.git?commit=0123456&fetch-by-commit=true",
            "https://h/p.git?fetch-by-commit=perhaps",
        ] {
            assert!(GitSource::parse(text, true).is_err(), "{text}");
        }
    }
}
