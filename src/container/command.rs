//! The command that an image's configuration and a user's words make, as Docker takes them.

use crate::error::{Error, Result};
use crate::fs::Root;
use crate::image::RunConfig;
use crate::sandbox::{StepOptions, user};

/// The PATH of an image that names none (moby, oci/defaults).
pub const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Settings of the user that replace those of the image.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The command: arguments of the entry point, where there is one.
    pub command: Vec<String>,
    /// The entry point; an empty one is none. The image's CMD then does not count.
    pub entrypoint: Option<String>,
    /// Variables, `NAME=VALUE`; a name alone takes the variable away.
    pub environment: Vec<String>,
    /// `USER[:GROUP]`.
    pub user: Option<String>,
    /// The working directory.
    pub directory: Option<String>,
    /// Whether there is a terminal, for the environment of programs.
    pub terminal: bool,
    /// The host name, which programs find in HOSTNAME.
    pub hostname: String,
}

/// Returns the command in a tree: arguments, environment, user and directory; all else is the default.
///
/// # Errors
/// [`crate::ErrorKind::InvalidArgument`] when neither image nor user says what to run; [`crate::ErrorKind::NotFound`] when the tree has no such user.
pub fn step_options(root: &Root, config: &RunConfig, overrides: &Overrides) -> Result<StepOptions> {
    let owned = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let mut arguments = match &overrides.entrypoint {
        Some(entrypoint) if entrypoint.is_empty() => Vec::new(),
        Some(entrypoint) => vec![entrypoint.clone()],
        None => owned(&config.entrypoint),
    };
    match overrides.command.is_empty() {
        false => arguments.extend(overrides.command.iter().cloned()),
        true if overrides.entrypoint.is_none() => arguments.extend(owned(&config.cmd)),
        true => {}
    }
    if arguments.is_empty() {
        return Err(Error::invalid("run command", "neither the image nor the command line says what to run")
            .with_hint("name a command after the image, such as sh"));
    }
    let user = overrides.user.as_deref().or(config.user.as_deref()).unwrap_or_default();
    let found = user::find(root, user)?;
    let directory = overrides.directory.as_deref().or(config.working_dir.as_deref()).unwrap_or("/");
    let mut environment: Vec<Vec<u8>> = vec![DEFAULT_PATH.into()];
    if !overrides.hostname.is_empty() {
        set(&mut environment, format!("HOSTNAME={}", overrides.hostname).into_bytes());
    }
    if overrides.terminal {
        set(&mut environment, b"TERM=xterm".to_vec());
    }
    for variable in owned(&config.env) {
        set(&mut environment, variable.into_bytes());
    }
    for variable in &overrides.environment {
        match variable.contains('=') {
            true => set(&mut environment, variable.clone().into_bytes()),
            false => environment.retain(|known| name(known) != variable.as_bytes()),
        }
    }
    if !environment.iter().any(|variable| name(variable) == b"HOME") {
        set(&mut environment, [b"HOME=", &found.home[..]].concat());
    }
    Ok(StepOptions {
        arguments: arguments.into_iter().map(String::into_bytes).collect(),
        environment,
        directory: directory.as_bytes().to_vec(),
        user: found.ids,
        hostname: overrides.hostname.clone().into_bytes(),
        terminal: overrides.terminal,
        names: true,
        ..StepOptions::default()
    })
}

fn name(variable: &[u8]) -> &[u8] {
    variable.split(|&c| c == b'=').next().unwrap_or_default()
}

/// Sets a variable in its old place, or at the end.
fn set(environment: &mut Vec<Vec<u8>>, variable: Vec<u8>) {
    match environment.iter_mut().find(|known| name(known) == name(&variable)) {
        Some(known) => *known = variable,
        None => environment.push(variable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(options: &StepOptions) -> Vec<String> {
        options.arguments.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    #[test]
    fn entrypoint_and_command_are_combined_as_docker_does() {
        let temp = tempfile::tempdir().unwrap();
        let root = Root::open(temp.path()).unwrap();
        let list = |text: &str| Some(text.split(' ').map(String::from).collect::<Vec<_>>());
        let config = RunConfig { entrypoint: list("/e x"), cmd: list("a b"), ..RunConfig::default() };
        let with = |command: &[&str], entrypoint: Option<&str>| {
            let overrides = Overrides {
                command: command.iter().map(|word| word.to_string()).collect(),
                entrypoint: entrypoint.map(String::from),
                ..Overrides::default()
            };
            step_options(&root, &config, &overrides).map(|options| words(&options).join(" "))
        };
        assert_eq!(with(&[], None).unwrap(), "/e x a b");
        assert_eq!(with(&["c"], None).unwrap(), "/e x c");
        assert_eq!(with(&[], Some("/f")).unwrap(), "/f");
        assert_eq!(with(&["c"], Some("")).unwrap(), "c");
        assert!(with(&[], Some("")).is_err());
    }

    #[test]
    fn the_environment_is_an_exact_list() {
        let temp = tempfile::tempdir().unwrap();
        let root = Root::open(temp.path()).unwrap();
        let config = RunConfig {
            env: Some(vec!["PATH=/p".into(), "A=1".into(), "B=2".into()]),
            user: Some("7:8".into()),
            working_dir: Some("/w".into()),
            ..RunConfig::default()
        };
        let overrides = Overrides {
            command: vec!["c".into()],
            environment: vec!["A=3".into(), "B".into(), "C=4".into()],
            ..Overrides::default()
        };
        let options = step_options(&root, &config, &overrides).unwrap();
        let environment: Vec<_> = options.environment.iter().map(|v| String::from_utf8_lossy(v)).collect();
        assert_eq!(environment, ["PATH=/p", "A=3", "C=4", "HOME=/"]);
        assert_eq!((options.user.uid, options.user.gid, &options.directory[..]), (7, 8, &b"/w"[..]));
    }
}
