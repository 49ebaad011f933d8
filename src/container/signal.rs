//! Signals by name.

use crate::error::{Error, Result};

const NAMES: [(&str, i32); 31] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", 16),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];
/// The first real-time signal that a C library leaves to programs, and the last one (signal(7)).
const REAL_TIME: (i32, i32) = (34, 64);

/// Reads a signal as Docker takes it: a number, or a name with or without `SIG`, `RTMIN+N` and `RTMAX-N` included.
pub fn number(text: &str) -> Result<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let (first, last) = REAL_TIME;
    let offset = |rest: &str| if rest.is_empty() { Some(0) } else { rest[1..].parse::<i32>().ok() };
    let found = match name.parse::<i32>() {
        Ok(number) => Some(number),
        Err(_) => match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
            (Some(rest), _) if rest.is_empty() || rest.starts_with('+') => offset(rest).map(|n| first + n),
            (_, Some(rest)) if rest.is_empty() || rest.starts_with('-') => offset(rest).map(|n| last - n),
            _ => NAMES.iter().find(|(known, _)| *known == name).map(|&(_, number)| number),
        },
    };
    found.filter(|number| (1..=last).contains(number)).ok_or_else(|| {
        Error::invalid("read signal", "not a signal such as TERM, SIGKILL or 15").with_path(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, expected) in
            [("TERM", 15), ("sigkill", 9), ("9", 9), ("SIGRTMIN+3", 37), ("RTMIN", 34), ("RTMAX-1", 63)]
        {
            assert_eq!(number(text).unwrap(), expected, "{text}");
        }
        for text in ["", "0", "65", "-1", "SIGX", "RTMIN3", "RTMAX+1", "RTMIN+31", "SIGSIGTERM", "RTMIN+é"] {
            assert!(number(text).is_err(), "{text}");
        }
    }
}
