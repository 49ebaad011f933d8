//! Challenges: what a `WWW-Authenticate` header asks for (RFC 9110, 11.6.1; RFC 6750, 3).

/// How many challenges, and parameters of one, are read.
const MAX: usize = 16;

/// A way to authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme in lower case: `basic`, `bearer`.
    pub scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Returns every parameter, in order.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns a parameter by its name, which is compared without regard to case. The first one counts.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// Reads the challenges of one header field, which may hold several. What is malformed ends the list: nothing is guessed.
pub fn parse(field: &str) -> Vec<Challenge> {
    let mut out: Vec<Challenge> = Vec::new();
    let mut rest = field;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() || out.len() > MAX {
            return out;
        }
        let Some((word, after)) = token(rest) else { return out };
        let spaced = after.trim_start_matches([' ', '\t']);
        // A word with a value is a parameter of the challenge before it; else it is the next scheme.
        match spaced.strip_prefix('=') {
            Some(value) => {
                let Some((value, after)) = read_value(value.trim_start_matches([' ', '\t'])) else {
                    return out;
                };
                let Some(challenge) = out.last_mut() else { return out };
                if challenge.parameters.len() >= MAX {
                    return out;
                }
                challenge.parameters.push((word.to_string(), value));
                rest = after;
            }
            None => {
                let ends = spaced.is_empty() || spaced.starts_with(',') || spaced.len() < after.len();
                if !ends {
                    return out;
                }
                out.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
                rest = spaced;
            }
        }
    }
}

/// Returns a token (RFC 9110, 5.6.2), and what follows it.
fn token(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !is_token(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// Returns a quoted string or a token, and what follows it. Registries also send bare addresses.
fn read_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_string(), &text[end..]));
    };
    let mut out = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &quoted[at + 1..])),
            '\\' => out.push(chars.next()?.1),
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_as_registries_send_them() {
        let field = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let [bearer] = &parse(field)[..] else { panic!() };
        assert_eq!(bearer.scheme, "bearer");
        assert_eq!(bearer.parameter("Realm"), Some("https://auth.docker.io/token"));
        assert_eq!(bearer.parameter("scope"), Some("repository:a/b:pull,push"));
        assert_eq!(bearer.parameter("error"), None);

        let both = parse(r#"Basic realm="a \"b\", c", Bearer realm=https://x/y , service = "s",,Negotiate"#);
        let schemes: Vec<&str> = both.iter().map(|one| one.scheme.as_str()).collect();
        assert_eq!(schemes, ["basic", "bearer", "negotiate"]);
        assert_eq!(both[0].parameter("realm"), Some("a \"b\", c"));
        assert_eq!(
            (both[1].parameter("realm"), both[1].parameter("service")),
            (Some("https://x/y"), Some("s"))
        );
        assert_eq!(parse("Basic").len(), 1);
    }

    #[test]
    fn what_is_malformed_ends_the_list() {
        for field in ["", ",", "=", "\"", "realm=x", "é", "Bearer=", "(x)"] {
            assert!(parse(field).iter().all(|one| one.parameters.is_empty()), "{field:?}");
        }
        assert_eq!(parse(r#"Bearer realm="open"#)[0].parameter("realm"), None);
        assert_eq!(parse(r#"Bearer realm="\"#)[0].parameter("realm"), None);
        let many = "a ,".repeat(1000);
        assert!(parse(&many).len() <= MAX + 1);
        let many = format!("Bearer {}", "a=b,".repeat(1000));
        assert_eq!(parse(&many)[0].parameters.len(), MAX);
    }
}
