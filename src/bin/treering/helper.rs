//! Credential helpers: programs that hold the credentials of registries.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use treering::error::{At, Result};
use treering::registry::{HelperAnswer, HelperCall};

const OP: &str = "start credential helper";
/// The most that a helper's answer may have.
const MAX_ANSWER: u64 = 1 << 20;
/// How long a cancelled wait goes on at most.
const PATIENCE: Duration = Duration::from_millis(25);

/// Starts a credential helper, found on `PATH`, and waits for it, until the operation is cancelled. Its standard error is ours.
pub fn start(call: &HelperCall<'_>) -> Result<HelperAnswer> {
    let mut command = Command::new(call.program);
    command.arg(call.action).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().at(OP, call.program)?;
    match talk(&mut child, call) {
        Ok((status, output)) => Ok(HelperAnswer { success: status.success(), output }),
        Err(error) => {
            // It may have ended by itself meanwhile; the error at hand is the one that counts.
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

/// Gives a helper its input and takes its answer.
fn talk(child: &mut Child, call: &HelperCall<'_>) -> Result<(ExitStatus, Vec<u8>)> {
    let mut stdin = child.stdin.take().expect("it was asked for");
    let stdout = child.stdout.take().expect("it was asked for");
    let (send, receive) = channel();
    let input = call.input.to_vec();
    // Pipes cannot be waited for with an eye on the token, so a thread of its own does, which a cancelled operation leaves behind.
    let exchange = move || {
        // One that needs no input may have ended without reading it.
        let _ = stdin.write_all(&input);
        drop(stdin);
        let mut output = Vec::new();
        let read = stdout.take(MAX_ANSWER).read_to_end(&mut output);
        // There is no receiver after a cancel.
        let _ = send.send(read.map(|_| output));
    };
    std::thread::Builder::new().name("treering-helper".into()).spawn(exchange).at(OP, call.program)?;
    let output = loop {
        call.cancel.check(OP)?;
        match receive.recv_timeout(PATIENCE) {
            Ok(read) => break read.at(OP, call.program)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break Vec::new(),
        }
    };
    loop {
        if let Some(status) = child.try_wait().at(OP, call.program)? {
            return Ok((status, output));
        }
        call.cancel.check(OP)?;
        std::thread::sleep(PATIENCE / 10);
    }
}
