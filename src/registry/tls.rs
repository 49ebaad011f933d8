//! Reasons why TLS does not come about, in words.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

const CA: &str = "ca = FILE in registries.toml names a certificate authority to trust";
const CLOCK: &str = "the server needs another certificate, or this machine's clock is wrong";
const OWN: &str = "client_cert and client_key in registries.toml name a certificate to show";
const PLAIN: &str = "for a registry without encryption, set insecure = true in registries.toml, or let its location begin with http://";

/// Returns what is wrong, and what to do about it.
pub(super) fn explain(reason: &Error) -> (String, Option<&'static str>) {
    let (text, hint) = match reason {
        // The first bytes are those of another protocol.
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => {
            return ("the server does not speak TLS".into(), Some(PLAIN));
        }
        Error::InvalidCertificate(reason) => certificate(reason),
        Error::NoCertificatesPresented => ("the server shows no certificate".into(), None),
        Error::PeerIncompatible(_) => (NOTHING_IN_COMMON.into(), None),
        Error::AlertReceived(alert) => refused(*alert),
        other => (other.to_string(), None),
    };
    (format!("TLS: {text}"), hint)
}

const NOTHING_IN_COMMON: &str = "the server and this client have no version or cipher in common";

fn certificate(reason: &CertificateError) -> (String, Option<&'static str>) {
    let day = |seconds: u64| {
        let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        time.map_or_else(String::new, |time| format!(": {}", time.strftime("%Y-%m-%d")))
    };
    match reason {
        CertificateError::UnknownIssuer => {
            ("the server's certificate is by an authority that is not trusted here".into(), Some(CA))
        }
        CertificateError::Expired => ("the server's certificate has expired".into(), Some(CLOCK)),
        CertificateError::ExpiredContext { not_after, .. } => {
            (format!("the server's certificate has expired{}", day(not_after.as_secs())), Some(CLOCK))
        }
        CertificateError::NotValidYet => ("the server's certificate is not valid yet".into(), Some(CLOCK)),
        CertificateError::NotValidYetContext { not_before, .. } => {
            (format!("the server's certificate is not valid yet{}", day(not_before.as_secs())), Some(CLOCK))
        }
        CertificateError::NotValidForName => (name(&[]), Some(NAME)),
        CertificateError::NotValidForNameContext { presented, .. } => (name(presented), Some(NAME)),
        CertificateError::Revoked => ("the server's certificate was revoked".into(), None),
        other => {
            let text = words(other);
            match text.as_str() {
                "ca used as end entity" => (
                    "the server's certificate is signed by itself, as one of an authority".into(),
                    Some(
                        "have one made for the server, and name its authority with ca = FILE in registries.toml",
                    ),
                ),
                _ => (format!("the server's certificate is not usable: {text}"), None),
            }
        }
    }
}

const NAME: &str = "use a name that the certificate is for, or have one made for this name";

/// Says which names a certificate is for.
fn name(presented: &[String]) -> String {
    // Each is written with its kind around it.
    let plain = |one: &String| {
        let inner = one.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(one);
        crate::error::escape(inner.trim_matches('"').as_bytes())
    };
    let names: Vec<String> = presented.iter().take(4).map(plain).collect();
    match names.is_empty() {
        true => "the server's certificate is for no such name".into(),
        false => format!("the server's certificate is for another name: {}", names.join(", ")),
    }
}

fn refused(alert: AlertDescription) -> (String, Option<&'static str>) {
    match alert {
        AlertDescription::CertificateRequired
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => {
            ("the server asks for a certificate, or refuses the one that it was shown".into(), Some(OWN))
        }
        AlertDescription::ProtocolVersion
        | AlertDescription::HandshakeFailure
        | AlertDescription::InsufficientSecurity => (NOTHING_IN_COMMON.into(), None),
        AlertDescription::UnrecognisedName => {
            ("the server has no certificate for this name".into(), Some(NAME))
        }
        other => (format!("the server refused the connection: {}", words(&other)), None),
    }
}

/// Returns the innermost name of a value as words: `Other(BadThing)` as `bad thing`.
fn words(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    let head = text.split([' ', '{']).next().unwrap_or_default();
    let inner = head.rsplit('(').next().unwrap_or_default().trim_end_matches(')');
    let mut out = String::new();
    let mut before_was_upper = true;
    for c in inner.chars() {
        if c.is_ascii_uppercase() && !before_was_upper {
            out.push(' ');
        }
        before_was_upper = c.is_ascii_uppercase();
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// Returns whether it is the server's certificate that is refused, or one of ours: TLS is spoken there.
pub(super) fn is_certificate(reason: &Error) -> bool {
    matches!(reason, Error::InvalidCertificate(_) | Error::AlertReceived(_) | Error::NoCertificatesPresented)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_errors_become_words() {
        assert_eq!(words(&CertificateError::BadEncoding), "bad encoding");
        assert_eq!(words(&AlertDescription::UnknownCA), "unknown ca");
        assert_eq!(words(&Some(Some(AlertDescription::InternalError))), "internal error");
        let (text, hint) = explain(&Error::AlertReceived(AlertDescription::InternalError));
        assert_eq!((text.as_str(), hint), ("TLS: the server refused the connection: internal error", None));
        let names = ["DnsName(\"a.example\")".to_string(), "IpAddress(127.0.0.1)".to_string()];
        assert!(name(&names).ends_with(": a.example, 127.0.0.1"), "{}", name(&names));
    }
}
