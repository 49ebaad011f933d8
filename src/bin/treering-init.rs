//! `treering-init`: the helper that a library starts for every command that runs in a tree, as a program of its own that does nothing else. The
//! command `treering` is that program too, under a hidden verb.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let verb = words.next();
    if verb.as_ref().is_some_and(|verb| verb == treering::container::MONITOR_VERB) {
        return ExitCode::from(treering::container::monitor_main() as u8);
    }
    if verb.is_none_or(|verb| verb != treering::sandbox::HELPER_VERB) {
        eprintln!("treering-init: this is started by treering, not by hand");
        return ExitCode::from(2);
    }
    ExitCode::from(treering::sandbox::helper_main(words.next()) as u8)
}
