//! SIGINT and SIGTERM, where ending at once would leave something lying about.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use treering::{Control, Error, ErrorKind};

/// Whether the process is ours, and its signals with it: not in a Python program.
static OURS: AtomicBool = AtomicBool::new(false);
/// The signal that came first.
static GOT: AtomicI32 = AtomicI32::new(0);

/// Says that this process is the command and nothing else.
pub fn allow() {
    OURS.store(true, Ordering::Relaxed);
}

/// Returns a control that the first signal cancels; the second one ends the process at once.
pub fn control() -> Control {
    let control = Control::default();
    if OURS.load(Ordering::Relaxed) {
        watch(&control);
    }
    control
}

/// This program, where it is the command and nothing else: it then is the helper of what it runs, too.
#[cfg(feature = "sandbox")]
pub fn own_program() -> Option<std::path::PathBuf> {
    let program = std::env::current_exe().ok();
    program.filter(|_| {
        OURS.load(Ordering::Relaxed) && std::env::var_os(treering::sandbox::HELPER_VARIABLE).is_none()
    })
}

/// Returns a control for a command that runs in a tree: the first signal goes to the command, which may take its time; the
/// second one ends it.
#[cfg(all(feature = "sandbox", feature = "cli"))]
pub fn forward(
    send: impl Fn(i32) -> treering::Result<()> + Send + 'static,
    resized: impl Fn() + Send + 'static,
) -> Control {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
    let control = Control::default();
    if !OURS.load(Ordering::Relaxed) {
        return control;
    }
    if let Ok(mut came) = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH]) {
        let cancel = control.cancel.clone();
        let watch = move || {
            let mut first = true;
            for signal in came.forever() {
                match signal {
                    SIGWINCH => resized(),
                    _ if first => first = send(signal).is_err(),
                    _ => {
                        GOT.store(signal, Ordering::Relaxed);
                        cancel.cancel();
                    }
                }
            }
        };
        let _ = std::thread::Builder::new().name("signals".into()).spawn(watch);
    }
    control
}

/// Does nothing. In the command as a library no process is ours.
#[cfg(all(feature = "sandbox", not(feature = "cli")))]
pub fn forward(
    _: impl Fn(i32) -> treering::Result<()> + Send + 'static,
    _: impl Fn() + Send + 'static,
) -> Control {
    Control::default()
}

#[cfg(feature = "cli")]
fn watch(control: &Control) {
    use signal_hook::consts::{SIGINT, SIGTERM};
    // Without a handler a signal ends the process as ever, and prune has something to remove.
    if let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]) {
        let cancel = control.cancel.clone();
        let watch = move || {
            for signal in signals.forever() {
                if GOT.swap(signal, Ordering::Relaxed) != 0 {
                    std::process::exit(128 + signal);
                }
                cancel.cancel();
            }
        };
        let _ = std::thread::Builder::new().name("signals".into()).spawn(watch);
    }
}

/// Does nothing. In the command as a library no process is ours, and nothing that could handle a signal is even linked.
#[cfg(not(feature = "cli"))]
fn watch(_: &Control) {}

/// Returns the error of an operation that a signal cancelled, in the words of the command: there is no caller here.
pub fn explained(error: anyhow::Error) -> anyhow::Error {
    if GOT.load(Ordering::Relaxed) == 0 {
        return error;
    }
    match error.downcast::<Error>() {
        Ok(error) if error.kind() == ErrorKind::Cancelled => {
            let said = Error::new(ErrorKind::Cancelled, error.operation(), "interrupted");
            match error.path() {
                Some(path) => said.with_path(path).into(),
                None => said.into(),
            }
        }
        Ok(error) => error.into(),
        Err(other) => other,
    }
}

/// Returns the exit code after a signal: what a shell makes of a death by it.
pub fn exit_code() -> Option<ExitCode> {
    let signal = u8::try_from(GOT.load(Ordering::Relaxed)).ok().filter(|&signal| signal > 0)?;
    Some(ExitCode::from(128 + signal))
}
