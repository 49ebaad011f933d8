//! Instructions that change the configuration and the variables, and nothing in the tree.

use serde_json::{Value, json};

use crate::build::state::State;
use crate::dockerfile::{Change, Fault, Scope};
use crate::image::Platform;

/// Applies an instruction of the configuration. Gives the text for the history.
pub(in crate::build) fn apply(state: &mut State, change: &Change, text: &str) -> Result<String, Fault> {
    let scope = state.scope.clone();
    state.config.apply(change, |word| scope.expand(word))?;
    match change {
        Change::Env(pairs) => {
            let mut shown = String::from("ENV");
            for (name, value) in pairs {
                let (name, value) = (scope.expand(name)?, scope.expand(value)?);
                state.scope.set_env(&name, &value);
                shown += &format!(" {name}={value}");
            }
            Ok(shown)
        }
        Change::Label(pairs) => {
            let pairs = pairs
                .iter()
                .map(|(name, value)| Ok(format!(" {}={}", scope.expand(name)?, scope.expand(value)?)));
            Ok(format!("LABEL{}", pairs.collect::<Result<String, Fault>>()?))
        }
        _ => Ok(text.to_string()),
    }
}

/// Declares arguments: a value that was given, else the default, else that of a global argument of the same name.
pub(in crate::build) fn arg(
    state: &mut State,
    args: &[(String, Option<String>)],
    given: &dyn Fn(&str) -> Option<String>,
    global: &Scope,
) -> Result<String, Fault> {
    let mut shown = String::from("ARG");
    for (name, default) in args {
        let name = state.scope.expand(name)?;
        let value = argument(given(&name), default.as_deref(), &state.scope)?.or_else(|| global.get(&name));
        shown += &format!(" {name}");
        if let Some(value) = value {
            shown += &format!("={value}");
            state.scope.set_arg(&name, &value);
        }
    }
    Ok(shown)
}

/// Returns the value of an argument: what was given, else the default. One that does not count is not expanded, so that it may be an
/// error that asks for a value.
pub(in crate::build) fn argument(
    given: Option<String>,
    default: Option<&str>,
    scope: &Scope,
) -> Result<Option<String>, Fault> {
    match given {
        Some(value) => Ok(Some(value)),
        None => default.map(|text| scope.expand(text)).transpose(),
    }
}

/// Sets the shell of commands in shell form.
pub(in crate::build) fn shell(state: &mut State, words: &[String]) -> String {
    state.config.set("Shell", json!(words));
    format!("SHELL {}", Value::from(words.to_vec()))
}

/// Returns the arguments that describe platforms.
pub(in crate::build) fn platform_args(target: &Platform) -> Vec<(String, String)> {
    let host = Platform::host();
    let mut out = Vec::new();
    for (prefix, platform) in [("TARGET", target), ("BUILD", &host)] {
        out.push((format!("{prefix}PLATFORM"), platform.to_string()));
        out.push((format!("{prefix}OS"), platform.os.clone()));
        out.push((format!("{prefix}ARCH"), platform.architecture.clone()));
        out.push((format!("{prefix}VARIANT"), platform.variant.clone().unwrap_or_default()));
    }
    out
}
