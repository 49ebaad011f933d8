//! Grants of a build to its commands: secrets, agents, hosts, memory.

use std::path::PathBuf;

use treering::build::{Agent, Secret, SecretSource};

/// Reads the network of commands: whether they have none.
pub fn no_network(text: &str) -> Result<bool, String> {
    match text {
        "default" | "host" => Ok(false),
        "none" => Ok(true),
        _ => Err("commands have the network of the host (default, host), or none".into()),
    }
}

/// Reads `id=ID[,src=FILE|,env=NAME][,type=file|env]`. Without a source, it is the variable with the id as its name, else the file.
pub fn secret(text: &str) -> Result<Secret, String> {
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("id", value)) if !value.is_empty() => id = Some(value.to_string()),
            Some(("src" | "source", value)) if !value.is_empty() => file = Some(value.to_string()),
            Some(("env", value)) if !value.is_empty() => variable = Some(value.to_string()),
            Some(("type", value @ ("file" | "env"))) => kind = Some(value),
            _ => {
                return Err(format!(
                    "a secret has no field {field:?}; as in id=npm,src=.npmrc or id=token,env=TOKEN"
                ));
            }
        }
    }
    let id = id.or_else(|| file.clone().filter(|_| kind.is_none())).ok_or("a secret needs an id")?;
    let source = match (file, variable, kind) {
        (Some(_), Some(_), _) => return Err("a secret is in a file or in a variable, not in both".into()),
        (Some(name), None, Some("env")) | (None, Some(name), None | Some("env")) => {
            SecretSource::Variable(name)
        }
        (None, Some(_), Some(_)) => return Err("env= is for type=env".into()),
        (Some(path), None, _) => SecretSource::File(path.into()),
        (None, None, Some("file")) => SecretSource::File(id.clone().into()),
        (None, None, Some(_)) => SecretSource::Variable(id.clone()),
        (None, None, None) => match std::env::var_os(&id) {
            Some(_) => SecretSource::Variable(id.clone()),
            None => SecretSource::File(id.clone().into()),
        },
    };
    Ok(Secret { id, source })
}

/// Reads `ID[=SOCKET]`; without a socket it is the agent of this session.
pub fn agent(text: &str) -> Result<Agent, String> {
    let (id, socket) = text.split_once('=').map_or((text, None), |(id, socket)| (id, Some(socket)));
    let id = if id.is_empty() { "default" } else { id };
    let socket = match socket.filter(|socket| !socket.is_empty()) {
        Some(socket) => PathBuf::from(socket),
        None => std::env::var_os("SSH_AUTH_SOCK")
            .filter(|socket| !socket.is_empty())
            .map(PathBuf::from)
            .ok_or("SSH_AUTH_SOCK is not set: there is no agent; start ssh-agent, or name a socket")?,
    };
    match std::fs::metadata(&socket) {
        Ok(found) if found.is_file() => {
            Err(format!("{}: keys are not read from files; add them to ssh-agent", socket.display()))
        }
        Ok(_) => Ok(Agent { id: id.into(), socket }),
        Err(error) => Err(format!("{}: {error}", socket.display())),
    }
}

/// Reads `NAME:ADDRESS` or `NAME=ADDRESS`.
pub fn host(text: &str) -> Result<(String, String), String> {
    let wrong = || format!("{text:?} is not NAME:ADDRESS");
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(wrong)?;
    let address = match address {
        // Commands have the network of this machine.
        "host-gateway" => "127.0.0.1",
        address => address.trim_start_matches('[').trim_end_matches(']'),
    };
    let named = !name.is_empty() && !name.contains(char::is_whitespace);
    match address.parse::<std::net::IpAddr>() {
        Ok(address) if named => Ok((name.into(), address.to_string())),
        _ => Err(wrong()),
    }
}

/// Reads a size in bytes that is not 0.
pub fn size(text: &str) -> Result<u64, String> {
    let bytes = crate::amount::bytes(text)?;
    (bytes > 0).then_some(bytes).ok_or_else(|| format!("{text:?} is not a size such as 64m or 1g"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_as_buildx_takes_them() {
        let file = |path: &str| SecretSource::File(path.into());
        let variable = |name: &str| SecretSource::Variable(name.into());
        for (text, id, source) in [
            ("id=a,src=/x", "a", file("/x")),
            ("id=a,source=x", "a", file("x")),
            ("src=x", "x", file("x")),
            ("id=a,env=B", "a", variable("B")),
            ("type=env,id=a", "a", variable("a")),
            ("type=file,id=a", "a", file("a")),
            ("id=no-such-variable", "no-such-variable", file("no-such-variable")),
        ] {
            let expected = Secret { id: id.into(), source };
            assert_eq!(secret(text), Ok(expected), "{text}");
        }
        for text in ["", "a", "id=", "id=a,what=b", "id=a,src=b,env=c", "type=x,id=a", "env=A"] {
            assert!(secret(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_and_sizes_are_checked() {
        let found = |text: &str| host(text).ok().map(|(name, address)| format!("{name} {address}"));
        assert_eq!(found("a:1.2.3.4").as_deref(), Some("a 1.2.3.4"));
        assert_eq!(found("a=::1").as_deref(), Some("a ::1"));
        assert_eq!(found("a:[::1]").as_deref(), Some("a ::1"));
        assert_eq!(found("a:host-gateway").as_deref(), Some("a 127.0.0.1"));
        assert!([":1.2.3.4", "a", "a:b", "a b:1.2.3.4"].iter().all(|text| host(text).is_err()));
        assert_eq!([size("1"), size("64m"), size("1.5GiB")], [Ok(1), Ok(64 << 20), Ok(3 << 29)]);
        assert!(["", "0", "m", "1x", "99999999999t"].iter().all(|text| size(text).is_err()));
    }
}
