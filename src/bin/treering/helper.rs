//! Credential helpers: programs that hold the credentials of registries.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use treering::error::{At, Result};
use treering::registry::{HelperAnswer, HelperCall};

/// The most that a helper's answer may have.
const MAX_ANSWER: u64 = 1 << 20;

/// Starts a credential helper, found on `PATH`, and waits for it. Its standard error is ours.
pub fn start(call: &HelperCall<'_>) -> Result<HelperAnswer> {
    const OP: &str = "start credential helper";
    let mut command = Command::new(call.program);
    command.arg(call.action).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().at(OP, call.program)?;
    // One that needs no input may have ended without reading it.
    let _ = child.stdin.take().expect("it was asked for").write_all(call.input);
    let mut output = Vec::new();
    let stdout = child.stdout.take().expect("it was asked for");
    let read = stdout.take(MAX_ANSWER).read_to_end(&mut output);
    let status = child.wait().at(OP, call.program)?;
    read.at(OP, call.program)?;
    Ok(HelperAnswer { success: status.success(), output })
}
