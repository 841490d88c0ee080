//! `threeport completion`.

use std::io::Write as _;

use anyhow::Result;
use clap::Args;
use clap_complete::Shell;

/// Shell completion
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  source <(threeport completion bash)
  threeport completion zsh > \"${fpath[1]}/_threeport\"
  threeport completion fish > ~/.config/fish/completions/threeport.fish")]
pub struct Completion {
    /// bash, zsh, fish, elvish or powershell
    shell: Shell,
}

/// Writes the script to stdout.
///
/// # Errors
/// When stdout is closed.
pub fn complete(args: &Completion, mut command: clap::Command) -> Result<()> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    Ok(std::io::stdout().lock().write_all(&script)?)
}
