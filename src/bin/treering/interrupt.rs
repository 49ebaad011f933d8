//! SIGINT and SIGTERM, where ending at once would leave something lying about.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use treering::{Control, Error, ErrorKind};

/// Whether the process is ours, and its signals with it: not in a Python program.
static OURS: AtomicBool = AtomicBool::new(false);
/// The signal that ends the process.
static GOT: AtomicI32 = AtomicI32::new(0);

/// Lets this module install signal handlers: the process is the command.
pub fn own_signals() {
    OURS.store(true, Ordering::Relaxed);
}

/// Returns a control that the first signal cancels; the second one ends the process at once.
pub fn control() -> Control {
    let control = Control::default();
    if OURS.load(Ordering::Relaxed) {
        watcher::cancel(&control);
    }
    control
}

/// Returns the path of this program when it is the command itself, which is then its own helper.
#[cfg(feature = "sandbox")]
pub fn own_program() -> Option<std::path::PathBuf> {
    let program = std::env::current_exe().ok();
    program.filter(|_| {
        OURS.load(Ordering::Relaxed) && std::env::var_os(treering::sandbox::HELPER_VARIABLE).is_none()
    })
}

/// Returns a control for a command that runs in a tree: from now on the first signal goes to the command, which may take its time;
/// the second one ends it.
#[cfg(feature = "sandbox")]
pub fn forward(
    send: impl Fn(i32) -> treering::Result<()> + Send + 'static,
    resized: impl Fn() + Send + 'static,
) -> Control {
    let control = Control::default();
    if OURS.load(Ordering::Relaxed) {
        watcher::forward(&control, Box::new(send), Box::new(resized));
    }
    control
}

/// The one thread that receives the signals of this process.
#[cfg(feature = "cli")]
mod watcher {
    use std::sync::atomic::Ordering;
    use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

    #[cfg(feature = "sandbox")]
    use signal_hook::consts::{SIGHUP, SIGQUIT, SIGWINCH};
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::{Handle, Signals};
    use treering::{Cancel, Control};

    use super::GOT;

    /// The receiver of signals.
    enum Receiver {
        /// The operations to cancel.
        Operations(Vec<Cancel>),
        /// A command that runs in a tree.
        #[cfg(feature = "sandbox")]
        Command(Command),
    }

    #[cfg(feature = "sandbox")]
    struct Command {
        send: Box<dyn Fn(i32) -> treering::Result<()> + Send>,
        resized: Box<dyn Fn() + Send>,
        cancel: Cancel,
        /// Whether it got a signal.
        asked: bool,
    }

    static RECEIVER: Mutex<Receiver> = Mutex::new(Receiver::Operations(Vec::new()));

    fn receiver() -> MutexGuard<'static, Receiver> {
        RECEIVER.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a signal cancel an operation, also one that came since the operation before.
    pub fn cancel(control: &Control) {
        start();
        match &mut *receiver() {
            Receiver::Operations(cancels) => cancels.push(control.cancel.clone()),
            // The command is over, and what follows goes on.
            #[cfg(feature = "sandbox")]
            Receiver::Command(_) => {}
        }
        if GOT.load(Ordering::SeqCst) != 0 {
            control.cancel.cancel();
        }
    }

    /// Hands signals to a command, also one that came while it was started.
    #[cfg(feature = "sandbox")]
    pub fn forward(
        control: &Control,
        send: Box<dyn Fn(i32) -> treering::Result<()> + Send>,
        resized: Box<dyn Fn() + Send>,
    ) {
        let Some(handle) = start() else { return };
        let mut receiver = receiver();
        let mut command = Command { send, resized, cancel: control.cancel.clone(), asked: false };
        let early = GOT.swap(0, Ordering::SeqCst);
        if early != 0 {
            command.take(early);
        }
        *receiver = Receiver::Command(command);
        for signal in [SIGHUP, SIGQUIT, SIGWINCH] {
            // Without a handler it ends this process, or is ignored, as ever.
            let _ = handle.add_signal(signal);
        }
    }

    /// Starts the thread, once. Without it a signal ends the process as ever, and prune has something to remove.
    fn start() -> Option<&'static Handle> {
        static STARTED: OnceLock<Option<Handle>> = OnceLock::new();
        let started = STARTED.get_or_init(|| {
            let mut signals = Signals::new([SIGINT, SIGTERM]).ok()?;
            let handle = signals.handle();
            let watch = move || {
                for signal in signals.forever() {
                    receiver().take(signal);
                }
            };
            let thread = std::thread::Builder::new().name("signals".into()).spawn(watch);
            thread.is_ok().then_some(handle)
        });
        started.as_ref()
    }

    impl Receiver {
        fn take(&mut self, signal: i32) {
            match self {
                Receiver::Operations(cancels) => {
                    if GOT.swap(signal, Ordering::SeqCst) != 0 {
                        std::process::exit(128 + signal);
                    }
                    cancels.iter().for_each(Cancel::cancel);
                }
                #[cfg(feature = "sandbox")]
                Receiver::Command(command) => command.take(signal),
            }
        }
    }

    #[cfg(feature = "sandbox")]
    impl Command {
        fn take(&mut self, signal: i32) {
            match signal {
                SIGWINCH => (self.resized)(),
                _ if !self.asked => self.asked = (self.send)(signal).is_ok(),
                _ => {
                    GOT.store(signal, Ordering::SeqCst);
                    self.cancel.cancel();
                }
            }
        }
    }
}

/// Nothing: in the command as a library no process is ours, and nothing that could handle a signal is even linked.
#[cfg(not(feature = "cli"))]
mod watcher {
    use treering::Control;

    pub fn cancel(_: &Control) {}

    #[cfg(feature = "sandbox")]
    pub fn forward(_: &Control, _: Box<dyn Fn(i32) -> treering::Result<()> + Send>, _: Box<dyn Fn() + Send>) {
    }
}

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
