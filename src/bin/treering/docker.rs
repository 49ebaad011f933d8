//! Options of `docker build` that have no meaning here. Scripts give them: each is accepted where it is harmless to leave it out.

use clap::Args;

use crate::options::boolean;
use crate::ui::{Ui, Usage};

/// Options that are accepted and have no effect.
#[derive(Debug, Args)]
pub struct Docker {
    /// Accepted: images always go into the store
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_parser = boolean)]
    load: Option<bool>,

    /// Accepted: there are no containers to remove
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_parser = boolean)]
    rm: Option<bool>,

    /// Accepted: there are no containers to remove
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_parser = boolean)]
    force_rm: Option<bool>,

    /// Accepted: the context goes nowhere
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_parser = boolean)]
    compress: Option<bool>,

    /// Accepted: no registry is asked for signatures
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_parser = boolean)]
    disable_content_trust: Option<bool>,

    /// Accepted: there is one builder
    #[arg(long, hide = true, value_name = "NAME")]
    builder: Option<String>,

    /// Accepted: commands get nothing from it
    #[arg(long, hide = true, value_name = "ENTITLEMENT", value_delimiter = ',')]
    allow: Vec<String>,

    /// Accepted: no effect
    #[arg(long, hide = true, value_name = "KIND")]
    isolation: Option<String>,

    /// Accepted: no effect
    #[arg(short, long, hide = true, value_name = "BYTES")]
    memory: Option<String>,

    /// Accepted: no effect
    #[arg(long, hide = true, value_name = "BYTES")]
    memory_swap: Option<String>,

    /// Accepted: no effect
    #[arg(short, long, hide = true, value_name = "SHARES")]
    cpu_shares: Option<String>,

    /// Accepted: no effect
    #[arg(long, hide = true, value_name = "MICROSECONDS")]
    cpu_period: Option<String>,

    /// Accepted: no effect
    #[arg(long, hide = true, value_name = "MICROSECONDS")]
    cpu_quota: Option<String>,

    /// Accepted: no effect
    #[arg(long, hide = true, value_name = "CPUS")]
    cpuset_cpus: Option<String>,

    /// Accepted: no effect
    #[arg(long, hide = true, value_name = "NODES")]
    cpuset_mems: Option<String>,

    /// Accepted: no effect
    #[arg(long, hide = true, value_name = "GROUP")]
    cgroup_parent: Option<String>,

    /// Accepted: no effect
    #[arg(long, hide = true, value_name = "OPTION")]
    security_opt: Vec<String>,
}

impl Docker {
    /// Names what was given and has no effect, in one line.
    ///
    /// # Errors
    /// It asks for what must not be left out.
    pub fn check(&self, ui: &Ui) -> Result<(), Usage> {
        let known = |name: &&String| {
            name.starts_with("device") || ["network.host", "security.insecure"].contains(&name.as_str())
        };
        if let Some(other) = self.allow.iter().find(|name| !known(name)) {
            return Err(Usage::new(format!("--allow has no {other:?}"))
                .with_hint("one of: network.host, security.insecure, device"));
        }
        if let Some(kind) = self.isolation.as_deref().filter(|kind| !["", "default"].contains(kind)) {
            return Err(Usage::new(format!("--isolation has no {kind:?}"))
                .with_hint("how commands are kept apart is --rung here"));
        }
        let given = [
            ("--builder", self.builder.is_some()),
            ("--memory", self.memory.is_some()),
            ("--memory-swap", self.memory_swap.is_some()),
            ("--cpu-shares", self.cpu_shares.is_some()),
            ("--cpu-period", self.cpu_period.is_some()),
            ("--cpu-quota", self.cpu_quota.is_some()),
            ("--cpuset-cpus", self.cpuset_cpus.is_some()),
            ("--cpuset-mems", self.cpuset_mems.is_some()),
            ("--cgroup-parent", self.cgroup_parent.is_some()),
            ("--security-opt", !self.security_opt.is_empty()),
        ];
        let names: Vec<&str> = given.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        if !names.is_empty() {
            ui.note(format!("no effect here: {}", names.join(", ")));
        }
        Ok(())
    }
}
