//! `treering completion`: what a shell needs to complete command lines.

use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use crate::context::Context;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  treering completion bash > ~/.treering.bash     to source in ~/.bashrc
  mkdir -p ~/.zfunc ~/.config/fish/completions
  treering completion zsh > ~/.zfunc/_treering
  treering completion fish > ~/.config/fish/completions/treering.fish";

/// Print a script that completes treering's command lines in a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    pub fn run(self, _: &Context) -> anyhow::Result<ExitCode> {
        let mut command = crate::args::command();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "treering", &mut script);
        if self.shell == Shell::Bash {
            script.extend_from_slice(include_bytes!("completion.bash"));
        }
        output::data(|out| Ok(out.write_all(&script).map_err(output::stdout_error)?))?;
        Ok(ExitCode::SUCCESS)
    }
}
