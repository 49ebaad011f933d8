//! `docker inspect` of a container, as JSON.

use serde_json::{Map, Value, json};

use super::handle::Container;
use super::settings::Volume;
use super::state::Status;
use super::volumes::Volumes;
use crate::error::Result;

/// The text that Docker prints for a time that is not known.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

impl Container {
    /// Returns the object `docker inspect` prints for a container, with the members that make sense without a daemon.
    /// `Tree` is where its tree is, and `Rung` how its command was run last.
    pub fn inspect(&self) -> Result<Value> {
        let (record, state) = (&self.record, self.state()?);
        let settings = &record.settings;
        let (root, config) = self.image_config()?;
        let overrides = settings.overrides(self.hostname());
        let step = super::command::step_options(&root, &config, &overrides).ok();
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let words: Vec<String> = step.iter().flat_map(|step| step.arguments.iter().map(text)).collect();
        let environment: Vec<String> =
            step.iter().flat_map(|step| step.environment.iter().map(text)).collect();
        let cmd = match settings.command.is_empty() {
            false => Some(settings.command.clone()),
            true if settings.entrypoint.is_none() => config.cmd.clone(),
            true => None,
        };
        let entrypoint = match &settings.entrypoint {
            Some(one) => Some(vec![one.clone()]).filter(|_| !one.is_empty()),
            None => config.entrypoint.clone(),
        };
        let mut labels = config.labels.clone().unwrap_or_default();
        labels.extend(settings.labels.clone());
        let mut out = Map::new();
        out.insert("Id".into(), json!(record.id));
        out.insert("Created".into(), json!(record.created));
        out.insert("Path".into(), json!(words.first().map(String::as_str).unwrap_or_default()));
        out.insert("Args".into(), json!(words.get(1..).unwrap_or_default()));
        out.insert(
            "State".into(),
            json!({
                "Status": state.status.name(),
                "Running": state.status == Status::Running,
                "Paused": false,
                "Restarting": false,
                "Dead": false,
                "Pid": state.pid,
                "ExitCode": state.exit_code,
                "Error": state.error.as_deref().unwrap_or_default(),
                "StartedAt": state.started.as_deref().unwrap_or(NO_TIME),
                "FinishedAt": state.finished.as_deref().unwrap_or(NO_TIME),
            }),
        );
        out.insert("Image".into(), json!(record.image_id));
        out.insert("Name".into(), json!(format!("/{}", record.name)));
        out.insert("Platform".into(), json!("linux"));
        let read_write = |volume: &Volume| {
            let mode = if volume.read_only { ":ro" } else { "" };
            format!("{}:{}{mode}", volume.source.display(), volume.target)
        };
        let tmpfs: Map<String, Value> =
            settings.tmpfs.iter().map(|it| (it.target.clone(), json!(it.options()))).collect();
        out.insert(
            "HostConfig".into(),
            json!({
                "Binds": settings.volumes.iter().map(read_write).collect::<Vec<_>>(),
                "NetworkMode": state.network.as_deref().unwrap_or(settings.network().name()),
                "AutoRemove": settings.auto_remove,
                "Links": settings.links,
                "ReadonlyRootfs": settings.read_only,
                "Init": settings.init,
                "Tmpfs": tmpfs,
                "Privileged": false,
            }),
        );
        out.insert("Mounts".into(), Value::Array(self.mounts()?));
        out.insert(
            "Config".into(),
            json!({
                "Hostname": self.hostname(),
                "User": settings.user.as_deref().or(config.user.as_deref()).unwrap_or_default(),
                "Tty": settings.terminal,
                "OpenStdin": settings.interactive,
                "Env": environment,
                "Cmd": cmd,
                "Image": record.image,
                "Volumes": config.volumes,
                "WorkingDir": settings.directory.as_deref().or(config.working_dir.as_deref()).unwrap_or_default(),
                "Entrypoint": entrypoint,
                "Labels": labels,
                "StopSignal": settings.stop_signal.as_deref().or(config.stop_signal.as_deref()),
            }),
        );
        out.insert("Tree".into(), json!(self.tree().to_string_lossy()));
        out.insert("Rung".into(), json!(state.rung));
        Ok(Value::Object(out))
    }

    fn mounts(&self) -> Result<Vec<Value>> {
        let settings = &self.record.settings;
        let mut out: Vec<Value> = settings
            .volumes
            .iter()
            .map(|it| {
                json!({
                    "Type": "bind", "Source": it.source.to_string_lossy(), "Destination": it.target,
                    "Mode": if it.read_only { "ro" } else { "" }, "RW": !it.read_only,
                })
            })
            .collect();
        if let Some(volumes) = Volumes::read(&self.slot)? {
            out.extend(volumes.list().iter().map(|own| {
                let source = own.source(&self.slot);
                json!({
                    "Type": "volume", "Source": source.to_string_lossy(), "Destination": own.target, "Mode": "", "RW": true,
                })
            }));
        }
        out.extend(settings.tmpfs.iter().map(|it| {
            json!({ "Type": "tmpfs", "Source": "", "Destination": it.target, "Mode": it.options(), "RW": true })
        }));
        Ok(out)
    }
}
