//! `treering login` and `treering logout`.

use std::io::Read;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use treering::error::Error;
use treering::registry::{Credential, login, logout};

use crate::context::Context;
use crate::ui::Usage;
use crate::{interrupt, json, output, registries};

/// Docker's registry, when none is named.
const DEFAULT: &str = "docker.io";
/// The longest password that is read.
const MAX_PASSWORD: u64 = 64 << 10;

const LOGIN: &str = "\
Examples:
  treering login -u ci --password-stdin registry.example < token
  pass show hub | treering login -u me --password-stdin";

const LOGOUT: &str = "\
Examples:
  treering logout registry.example
  treering logout";

/// Keep the credentials of a registry, once it has taken them
///
/// They go where docker keeps them: $REGISTRY_AUTH_FILE, $DOCKER_CONFIG/config.json or ~/.docker/config.json, or the
/// credential helper that is named there.
#[derive(Debug, Args)]
#[command(after_help = LOGIN)]
pub struct Login {
    /// The registry, as HOST[:PORT] [default: docker.io]
    #[arg(value_name = "REGISTRY", default_value = DEFAULT, hide_default_value = true)]
    registry: String,

    /// The user name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,

    /// The password or token; every user of this machine can see it in the list of processes
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,

    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
}

impl Login {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let username = self.username.ok_or_else(|| {
            Usage::new("a user name is needed").with_hint("-u NAME, and the password by --password-stdin")
        })?;
        let password = match self.password {
            Some(password) => {
                context.ui.warn("a password on the command line is seen by others: use --password-stdin");
                password
            }
            None if self.password_stdin => read_password()?,
            None => {
                return Err(Usage::new("a password is needed").with_hint("--password-stdin reads it").into());
            }
        };
        let registries = registries::from_env()?;
        let control = interrupt::control();
        let done = login(&registries, &self.registry, &Credential::basic(username, password), &control)?;
        if context.json {
            let object = json!({ "registry": done.registry, "kept_in": done.kept_in });
            output::data(|out| json::document(out, &object))?;
        } else {
            context.ui.note(format!("the credentials of {} are kept in {}", done.registry, done.kept_in));
            output::lines(["Login Succeeded"])?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn read_password() -> anyhow::Result<String> {
    const OP: &str = "read password";
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_PASSWORD).read_to_string(&mut text);
    read.map_err(|error| Error::io(OP, "standard input", error))?;
    // The line's end is the shell's, not the password's.
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err(Error::invalid(OP, "no password came").with_path("standard input").into());
    }
    Ok(text.to_string())
}

/// Forget the credentials of a registry
#[derive(Debug, Args)]
#[command(after_help = LOGOUT)]
pub struct Logout {
    /// The registry, as HOST[:PORT] [default: docker.io]
    #[arg(value_name = "REGISTRY", default_value = DEFAULT, hide_default_value = true)]
    registry: String,
}

impl Logout {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let found = logout(&registries::from_env()?, &self.registry)?;
        if context.json {
            let object = json!({ "registry": self.registry, "removed": found });
            output::data(|out| json::document(out, &object))?;
        } else {
            output::lines([match found {
                true => format!("Removing login credentials for {}", self.registry),
                false => format!("Not logged in to {}", self.registry),
            }])?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
