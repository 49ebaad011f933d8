//! `treering stop`, `restart`, `kill` and `wait`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use treering::container::{STOP_SECONDS, StartOptions, signal_number};

use crate::context::Context;
use crate::{boxes, interrupt, json, output};

/// The time that a command gets to stop.
#[derive(Debug, Args)]
struct Patience {
    /// Seconds to wait before killing; -1 to wait without end
    #[arg(short, long, visible_alias = "time", value_name = "SECONDS", default_value_t = STOP_SECONDS as i64,
          value_parser = clap::value_parser!(i64).range(-1..), allow_negative_numbers = true)]
    timeout: i64,
}

impl Patience {
    fn duration(&self) -> Duration {
        u64::try_from(self.timeout).map_or(Duration::MAX, Duration::from_secs)
    }
}

const STOP: &str = "\
Examples:
  treering stop web
  treering stop -t 1 web";

/// Ask containers to stop, and kill those that do not
///
/// The signal is the one of `--stop-signal`, else the image's, else TERM.
#[derive(Debug, Args)]
#[command(after_help = STOP)]
pub struct Stop {
    /// The containers: names, ids, or beginnings of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,

    #[command(flatten)]
    patience: Patience,
}

impl Stop {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let control = interrupt::control();
        let patience = self.patience.duration();
        boxes::each(context, &self.containers, |container| container.stop(patience, &control))
    }
}

const RESTART: &str = "\
Examples:
  treering restart -t 1 web";

/// Stop containers, and start them again
#[derive(Debug, Args)]
#[command(after_help = RESTART)]
pub struct Restart {
    /// The containers: names, ids, or beginnings of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,

    #[command(flatten)]
    patience: Patience,
}

impl Restart {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let control = interrupt::control();
        let patience = self.patience.duration();
        boxes::each(context, &self.containers, |container| {
            container.stop(patience, &control)?;
            container
                .start(&StartOptions { helper: interrupt::own_program(), ..StartOptions::default() })
                .map(drop)
        })
    }
}

const KILL: &str = "\
Examples:
  treering kill -s HUP web";

/// Send containers a signal
#[derive(Debug, Args)]
#[command(after_help = KILL)]
pub struct Kill {
    /// The containers: names, ids, or beginnings of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,

    /// The signal, a name or a number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL", value_parser = signal_number)]
    signal: i32,
}

impl Kill {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        boxes::each(context, &self.containers, |container| container.kill(self.signal))
    }
}

const WAIT: &str = "\
Examples:
  treering wait box";

/// Wait until containers have ended, and print their exit codes
#[derive(Debug, Args)]
#[command(after_help = WAIT)]
pub struct Wait {
    /// The containers: names, ids, or beginnings of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

impl Wait {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let control = interrupt::control();
        let store = context.store()?;
        let (mut codes, mut exit) = (Vec::new(), ExitCode::SUCCESS);
        for name in &self.containers {
            let waited = treering::container::Container::open(&store, name).and_then(|it| it.wait(&control));
            match waited {
                Ok(code) => codes.push(code),
                Err(error) => {
                    context.ui.error(&error.into());
                    exit = ExitCode::FAILURE;
                }
            }
        }
        match context.json {
            true => output::data(|out| json::list(out, codes.iter()))?,
            false => output::lines(codes.iter().map(ToString::to_string))?,
        }
        Ok(exit)
    }
}
