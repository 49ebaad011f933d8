//! The command line: global options, and one variant per verb.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands as verb;
use crate::context::Context;
use crate::ui;

const ABOUT: &str = "Grow OCI images from a directory: no root, no daemon";

/// The verbs, by what they are for; a test holds this and the parser together.
const VERBS: &[(&str, &[&str])] = &[
    ("Grow", &["build", "commit", "edit", "diff", "snapshot", "layer"]),
    ("Look", &["images", "ls", "cat", "inspect", "history", "report", "df", "info"]),
    ("Move", &["save", "load", "import", "export", "tag", "rmi"]),
    #[cfg(feature = "registry")]
    ("Ship", &["pull", "push", "copy", "manifest", "tags", "login", "logout"]),
    #[cfg(feature = "sandbox")]
    (
        "Run",
        &[
            "run",
            "create",
            "start",
            "exec",
            "attach",
            "logs",
            "ps",
            "stop",
            "restart",
            "kill",
            "wait",
            "rename",
            "rm",
            "container",
        ],
    ),
    ("Work", &["unpack", "checkout", "cp", "clone"]),
    ("Keep", &["prune", "fsck"]),
    ("More", &["version", "completion", "man", "image", "builder", "system", "help"]),
];

const EXAMPLES: &str = "\
Examples:
  treering commit ./rootfs app:v1               a directory becomes an image
  treering unpack app:v1 work                   an image becomes a directory
  treering diff work                            what changed in it since
  treering commit work app:v2 -m 'New config'   the changes become a layer
  treering save -o app.tar app:v2               the image becomes a file for docker load
  treering push app:v2 registry.example/app:v2  the image goes to a registry

Exit codes:
  0  done
  1  failed; for `diff --exit-code`: there are differences; for `fsck`: there are problems; for `build --check`: warnings
  2  the command line is wrong; for `diff --exit-code` and `fsck` also: failed
  125, 126, 127  `run` and `exec` failed, the command cannot be executed, or is not found
  `run` and `exec` end with the code of their command, `build` with that of the RUN that failed

Environment:
  TREERING_ROOT      where the image store is, else $XDG_DATA_HOME/treering or ~/.local/share/treering
  TREERING_REGISTRIES  mirrors and trust of registries, else $XDG_CONFIG_HOME/treering/registries.toml
  REGISTRY_AUTH_FILE, DOCKER_CONFIG  where credentials are, else ~/.docker/config.json and containers' auth.json
  SOURCE_DATE_EPOCH  seconds since 1970: dates images, and caps times in layers of directories
  NO_COLOR           no colours";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "treering", version, about = ABOUT, after_help = EXAMPLES, max_term_width = 100)]
// As Docker has it: of an option that is there twice, the last counts.
#[command(args_override_self = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The directory of the image store [default: $TREERING_ROOT]
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Threads to use; the result does not depend on it [default: one per processor]
    #[arg(long, global = true, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub threads: usize,

    /// Make no indexes of layers, which take up to 1% of their size and speed up reading files of images
    #[arg(long, global = true)]
    pub no_layer_index: bool,

    /// No progress, notes or warnings
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Print data as JSON, and errors too
    #[arg(long, global = true)]
    pub json: bool,

    /// Accepted, as Docker has it: there is no log to say more in
    #[arg(short = 'D', long, global = true, hide = true)]
    pub debug: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    // Grow
    Build(Box<verb::build::Build>),
    Commit(verb::commit::Commit),
    Edit(Box<verb::edit::Edit>),
    Diff(verb::diff::Diff),
    Snapshot(verb::snapshot::Snapshot),
    #[command(subcommand)]
    Layer(verb::layer::Layer),
    // Look
    Images(verb::images::Images),
    Ls(verb::ls::Ls),
    Cat(verb::cat::Cat),
    Inspect(verb::inspect::Inspect),
    History(verb::history::History),
    Report(verb::report::Report),
    Df(verb::df::Df),
    Info(verb::info::Info),
    // Move
    Save(verb::save::Save),
    Load(verb::load::Load),
    Import(verb::import::Import),
    Export(verb::export::Export),
    Tag(verb::tag::Tag),
    Rmi(verb::rmi::Rmi),
    // Ship
    #[cfg(feature = "registry")]
    Pull(verb::pull::Pull),
    #[cfg(feature = "registry")]
    Push(verb::push::Push),
    #[cfg(feature = "registry")]
    Copy(verb::copy::Copy),
    #[cfg(feature = "registry")]
    #[command(subcommand)]
    Manifest(verb::manifest::Manifest),
    #[cfg(feature = "registry")]
    Tags(verb::tags::Tags),
    #[cfg(feature = "registry")]
    Login(verb::login::Login),
    #[cfg(feature = "registry")]
    Logout(verb::login::Logout),
    // Work
    Unpack(verb::unpack::Unpack),
    Cp(verb::cp::Cp),
    Checkout(verb::checkout::Checkout),
    Clone(verb::clone::Clone),
    // Run
    #[cfg(feature = "sandbox")]
    Run(Box<verb::run::Run>),
    #[cfg(feature = "sandbox")]
    Create(Box<verb::create::Create>),
    #[cfg(feature = "sandbox")]
    Ps(verb::ps::Ps),
    #[cfg(feature = "sandbox")]
    Rm(verb::rm::Rm),
    #[cfg(feature = "sandbox")]
    Start(verb::start::Start),
    #[cfg(feature = "sandbox")]
    Exec(verb::exec::Exec),
    #[cfg(feature = "sandbox")]
    Attach(verb::attach::Attach),
    #[cfg(feature = "sandbox")]
    Logs(verb::logs::Logs),
    #[cfg(feature = "sandbox")]
    Stop(verb::stop::Stop),
    #[cfg(feature = "sandbox")]
    Restart(verb::stop::Restart),
    #[cfg(feature = "sandbox")]
    Kill(verb::stop::Kill),
    #[cfg(feature = "sandbox")]
    Wait(verb::stop::Wait),
    #[cfg(feature = "sandbox")]
    Rename(verb::rename::Rename),
    #[cfg(feature = "sandbox")]
    #[command(subcommand)]
    Container(verb::container::Group),
    // Keep
    Prune(verb::prune::Prune),
    Fsck(verb::fsck::Fsck),
    // About treering itself
    Version(verb::version::Version),
    Completion(verb::completion::Completion),
    Man(verb::man::Man),
    #[command(subcommand)]
    Image(ImageGroup),
    #[command(subcommand, visible_alias = "buildx")]
    Builder(BuilderGroup),
    #[command(subcommand)]
    System(SystemGroup),
}

/// Docker's names for the same: image ls, image rm, ...
#[derive(Debug, Subcommand)]
pub enum ImageGroup {
    #[command(visible_alias = "list")]
    Ls(verb::images::Images),
    Inspect(verb::inspect::Inspect),
    History(verb::history::History),
    #[command(visible_alias = "remove")]
    Rm(verb::rmi::Rmi),
    Tag(verb::tag::Tag),
    Save(verb::save::Save),
    Load(verb::load::Load),
    Import(verb::import::Import),
    #[cfg(feature = "registry")]
    Pull(verb::pull::Pull),
    #[cfg(feature = "registry")]
    Push(verb::push::Push),
    Prune(verb::prune::Prune),
}

/// Docker's names for the same, and the build cache: builder build, builder prune
#[derive(Debug, Subcommand)]
pub enum BuilderGroup {
    Build(Box<verb::build::Build>),
    Prune(verb::builder_prune::BuilderPrune),
}

/// Docker's names for the same: system df, system info, system prune
#[derive(Debug, Subcommand)]
pub enum SystemGroup {
    Df(verb::df::Df),
    Info(verb::info::Info),
    Prune(verb::prune::Prune),
}

/// Returns the parser, with the verbs grouped in its help.
pub fn command() -> clap::Command {
    let command = Cli::command();
    let (header, verbs) = (*command.get_styles().get_header(), grouped(&command));
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{verbs}{header}Options:{header:#}\n{{options}}{{after-help}}"
    ))
}

/// Reads the command line. When it is wrong, or asks for help, that is printed, and the exit code comes back.
pub fn parse(arguments: Vec<OsString>) -> Result<Cli, ExitCode> {
    if arguments.len() < 2 {
        let help = command().render_help();
        match ui::colours(&std::io::stderr()) {
            true => eprint!("{}", help.ansi()),
            false => eprint!("{help}"),
        }
        return Err(ExitCode::from(2));
    }
    // The parser stops at what it does not take, so it cannot be asked whether --json stands behind that.
    let json = arguments.iter().take_while(|word| *word != "--").any(|word| word == "--json");
    let matches = command().try_get_matches_from(arguments);
    matches.and_then(|matches| Cli::from_arg_matches(&matches)).map_err(|error| {
        if json && error.use_stderr() {
            ui::Ui::new(false, true).error(&usage(&error).into());
        } else {
            // A terminal that is gone is no reason to fail otherwise.
            let _ = error.print();
        }
        ExitCode::from(error.exit_code() as u8)
    })
}

/// Returns an error of the parser as one of ours: its first paragraph, and the rest as the hint.
fn usage(error: &clap::Error) -> ui::Usage {
    let text = error.to_string();
    let (message, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
    let message = message.trim().strip_prefix("error: ").unwrap_or(message.trim());
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let rest = words(rest);
    match rest.is_empty() {
        true => ui::Usage::new(words(message)),
        false => ui::Usage::new(words(message)).with_hint(rest),
    }
}

/// Returns the verbs under their headings.
fn grouped(command: &clap::Command) -> String {
    let (header, literal) = (command.get_styles().get_header(), command.get_styles().get_literal());
    let mut out = String::new();
    for (heading, verbs) in VERBS {
        out += &format!("{header}{heading}:{header:#}\n");
        for verb in *verbs {
            let about = match command.find_subcommand(verb).and_then(|found| found.get_about()) {
                Some(about) => about.to_string(),
                None => "Print help for a command".into(),
            };
            out += &format!("  {literal}{verb:<10}{literal:#}  {about}\n");
        }
        out.push('\n');
    }
    out
}

impl Command {
    /// Runs the verb.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self {
            Command::Build(args) | Command::Builder(BuilderGroup::Build(args)) => args.run(context),
            Command::Builder(BuilderGroup::Prune(args)) => args.run(context),
            Command::Commit(args) => args.run(context),
            Command::Edit(args) => args.run(context),
            Command::Diff(args) => args.run(context),
            Command::Snapshot(args) => args.run(context),
            Command::Layer(args) => args.run(context),
            Command::Images(args) | Command::Image(ImageGroup::Ls(args)) => args.run(context),
            Command::Inspect(args) | Command::Image(ImageGroup::Inspect(args)) => args.run(context),
            Command::History(args) | Command::Image(ImageGroup::History(args)) => args.run(context),
            Command::Report(args) => args.run(context),
            Command::Df(args) | Command::System(SystemGroup::Df(args)) => args.run(context),
            Command::Info(args) | Command::System(SystemGroup::Info(args)) => args.run(context),
            Command::Save(args) | Command::Image(ImageGroup::Save(args)) => args.run(context),
            Command::Load(args) | Command::Image(ImageGroup::Load(args)) => args.run(context),
            Command::Import(args) | Command::Image(ImageGroup::Import(args)) => args.run(context),
            Command::Export(args) => args.run(context),
            Command::Tag(args) | Command::Image(ImageGroup::Tag(args)) => args.run(context),
            Command::Rmi(args) | Command::Image(ImageGroup::Rm(args)) => args.run(context),
            #[cfg(feature = "registry")]
            Command::Pull(args) | Command::Image(ImageGroup::Pull(args)) => args.run(context),
            #[cfg(feature = "registry")]
            Command::Push(args) | Command::Image(ImageGroup::Push(args)) => args.run(context),
            #[cfg(feature = "registry")]
            Command::Copy(args) => args.run(context),
            #[cfg(feature = "registry")]
            Command::Manifest(args) => args.run(context),
            #[cfg(feature = "registry")]
            Command::Tags(args) => args.run(context),
            #[cfg(feature = "registry")]
            Command::Login(args) => args.run(context),
            #[cfg(feature = "registry")]
            Command::Logout(args) => args.run(context),
            Command::Unpack(args) => args.run(context),
            Command::Ls(args) => args.run(context),
            Command::Cat(args) => args.run(context),
            Command::Cp(args) => args.run(context),
            Command::Checkout(args) => args.run(context),
            Command::Clone(args) => args.run(context),
            #[cfg(feature = "sandbox")]
            Command::Run(args) => args.run(context),
            #[cfg(feature = "sandbox")]
            Command::Create(args) => args.run(context),
            #[cfg(feature = "sandbox")]
            Command::Ps(args) => args.run(context),
            #[cfg(feature = "sandbox")]
            Command::Rm(args) => args.run(context),
            #[cfg(feature = "sandbox")]
            Command::Start(args) => args.run(context),
            #[cfg(feature = "sandbox")]
            Command::Exec(args) => args.run(context),
            #[cfg(feature = "sandbox")]
            Command::Attach(args) => args.run(context),
            #[cfg(feature = "sandbox")]
            Command::Logs(args) => args.run(context),
            #[cfg(feature = "sandbox")]
            Command::Stop(args) => args.run(context),
            #[cfg(feature = "sandbox")]
            Command::Restart(args) => args.run(context),
            #[cfg(feature = "sandbox")]
            Command::Kill(args) => args.run(context),
            #[cfg(feature = "sandbox")]
            Command::Wait(args) => args.run(context),
            #[cfg(feature = "sandbox")]
            Command::Rename(args) => args.run(context),
            #[cfg(feature = "sandbox")]
            Command::Container(args) => args.run(context),
            Command::Prune(args)
            | Command::Image(ImageGroup::Prune(args))
            | Command::System(SystemGroup::Prune(args)) => args.run(context),
            Command::Fsck(args) => args.run(context),
            Command::Version(args) => args.run(context),
            Command::Completion(args) => args.run(context),
            Command::Man(args) => args.run(context),
        }
    }

    /// Returns the exit code of a failure: 1, unless 1 means that the command found what it looks for.
    pub fn failure_code(&self) -> u8 {
        #[cfg(feature = "sandbox")]
        use verb::container::Group;
        match self {
            Command::Diff(args) if args.exit_code => 2,
            Command::Fsck(_) => 2,
            // As other container commands.
            #[cfg(feature = "sandbox")]
            Command::Run(_) | Command::Exec(_) | Command::Container(Group::Run(_) | Group::Exec(_)) => 125,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_verb_is_in_one_group() {
        let mut grouped: Vec<&str> = VERBS.iter().flat_map(|(_, verbs)| verbs.iter().copied()).collect();
        let command = command();
        let mut known: Vec<&str> = command.get_subcommands().map(|verb| verb.get_name()).collect();
        known.push("help");
        grouped.sort();
        known.sort();
        assert_eq!(grouped, known);
    }

    #[test]
    fn global_options_stand_anywhere() {
        for line in [
            ["treering", "-q", "--root", "/x", "images"].as_slice(),
            &["treering", "images", "-q", "--root", "/x"],
            &["treering", "image", "ls", "-q", "--root", "/x"],
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!(cli.global.root.as_deref(), Some(std::path::Path::new("/x")), "{line:?}");
            assert!(cli.global.quiet, "{line:?}");
        }
    }
    /// Returns every verb and subcommand that does something of its own, by its words.
    fn leaves() -> Vec<(String, clap::Command)> {
        let mut command = command();
        command.build();
        let mut out = Vec::new();
        // Docker's groups are the same verbs once more.
        for verb in command
            .get_subcommands()
            .filter(|verb| !["image", "container", "system", "help"].contains(&verb.get_name()))
        {
            let inner: Vec<_> = verb.get_subcommands().filter(|inner| inner.get_name() != "help").collect();
            match inner.is_empty() {
                true => out.push((verb.get_name().to_string(), verb.clone())),
                false => out.extend(
                    inner
                        .into_iter()
                        .filter(|inner| (verb.get_name(), inner.get_name()) != ("builder", "build"))
                        .map(|inner| (format!("{} {}", verb.get_name(), inner.get_name()), inner.clone())),
                ),
            }
        }
        out
    }

    #[test]
    fn the_page_names_the_flags_of_every_verb() {
        let page = include_str!("../../../docs/command.md");
        for (words, verb) in leaves() {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{words}` | `-")));
            let mut named: Vec<&str> = row
                .map(|row| row.split(['`', ' ']).filter(|word| word.starts_with("--")).collect())
                .unwrap_or_default();
            let everywhere =
                ["help", "version", "root", "no_layer_index", "threads", "quiet", "json", "debug"];
            let own = |flag: &&clap::Arg| !everywhere.contains(&flag.get_id().as_str());
            let flags = verb.get_arguments().filter(own);
            let mut known: Vec<String> =
                flags.filter_map(|flag| Some(format!("--{}", flag.get_long()?))).collect();
            known.sort();
            named.sort();
            assert_eq!(named, known, "docs/command.md, flags of {words}");
        }
    }

    #[test]
    fn every_flag_says_what_it_is_for() {
        for (words, verb) in leaves() {
            for argument in verb.get_arguments() {
                assert!(argument.get_help().is_some(), "{words}: {}", argument.get_id());
            }
        }
    }

    /// Splits a line as a shell would, as far as the examples go: quotes, and what ends a command.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
        let mut any = false;
        for c in line.chars().chain([' ']) {
            match (quote, c) {
                (Some(q), c) if c == q => quote = None,
                (None, '\'' | '"') => (quote, any) = (Some(c), true),
                (None, ' ') if any || !word.is_empty() => {
                    if matches!(word.as_str(), "|" | "<" | ">" | "&&") {
                        break;
                    }
                    words.push(std::mem::take(&mut word));
                    any = false;
                }
                (None, ' ') => {}
                (_, c) => word.push(c),
            }
        }
        words
    }

    #[test]
    fn the_examples_are_command_lines() {
        for (of, verb) in leaves() {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            let mut found = 0;
            for line in help.lines().filter_map(|line| line.strip_prefix("  ")) {
                // What is said about an example stands two blanks or more behind it.
                let line = line.trim_start().split("  ").next().unwrap_or_default();
                let Some(at) = line.find("treering ").filter(|&at| at == 0 || line[..at].ends_with("| "))
                else {
                    continue;
                };
                // The shell would have put a path in.
                let words: Vec<_> =
                    words(&line[at..]).iter().map(|word| word.replace("$PWD", "/work")).collect();
                if let Err(error) = command().try_get_matches_from(&words) {
                    panic!("{of}: {words:?}: {error}");
                }
                found += 1;
            }
            assert!(found > 0 || of == "version", "{of} --help shows no examples");
        }
    }
}
