//! Messages of the working thread to the one that called.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use pyo3::prelude::*;
use treering::build::GitAnswer;
use treering::registry::Credential;

/// A message of the working thread.
pub enum Message {
    /// Up to this many bytes of the caller's file are wanted.
    Read(usize, Sender<std::io::Result<Vec<u8>>>),
    /// This is to be written to the caller's file.
    Write(Vec<u8>, Sender<std::io::Result<()>>),
    /// The function is to be asked for the credentials of a repository: the registry, the path.
    Ask(Arc<Py<PyAny>>, String, String, Sender<treering::Result<Option<Credential>>>),
    /// git is to be run by a function.
    Git(Wanted),
    /// A command wrote this, on the stream of this number.
    Output(u8, Vec<u8>, Sender<std::io::Result<()>>),
    /// The work is over.
    Done,
}

/// A call of git that is to be made on the calling thread.
pub struct Wanted {
    pub function: Arc<Py<PyAny>>,
    pub directory: PathBuf,
    pub arguments: Vec<OsString>,
    pub environment: Vec<(OsString, OsString)>,
    pub reply: Sender<treering::Result<GitAnswer>>,
}
