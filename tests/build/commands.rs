//! RUN: what commands are given, what of their output becomes events, and when one is carried out again.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;

fn with_args(options: BuildOptions, args: &[(&str, &str)]) -> BuildOptions {
    let build_args = args.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    BuildOptions { build_args, ..options }
}

#[test]
fn proxies_reach_commands_and_stay_out_of_keys_and_history() {
    let Some(place) = with_shell().filter(Place::can_run) else { return };
    let text = "RUN echo $HTTPS_PROXY $https_proxy $no_proxy, $ftp_proxy > /seen\n";
    let with = |proxy: &str| {
        let args = [("https_proxy", proxy), ("NO_PROXY", "localhost"), ("FTP_PROXY", "")];
        build(&place.store, &with_args(place.run_options(text), &args), &Control::default()).unwrap()
    };
    let first = with("http://one.example:1");
    assert_eq!(place.read("seen"), "http://one.example:1 http://one.example:1 localhost,\n");
    assert!(!place.history().iter().any(|row| row.contains("one.example")), "{:?}", place.history());
    let config = place.image().config().value().to_owned();
    assert!(!serde_json::Value::Object(config).to_string().contains("one.example"));
    let second = with("http://two.example:2");
    assert_eq!((second.carried_out, second.image_id), (0, first.image_id));
    // What the image says itself stands before them.
    let text = "ENV https_proxy=own\nRUN echo $HTTPS_PROXY $https_proxy > /seen\n";
    let options = with_args(place.run_options(text), &[("HTTPS_PROXY", "http://one.example:1")]);
    build(&place.store, &options, &Control::default()).unwrap();
    assert_eq!(place.read("seen"), "http://one.example:1 own\n");
}

#[test]
fn the_host_name_and_the_network_of_commands_can_be_chosen() {
    let Some(place) = with_shell().filter(Place::can_run) else { return };
    let text = "RUN busybox hostname > /name; busybox cat /etc/hosts > /hosts\n";
    place.run(text).unwrap();
    // By chroot(2) alone the machine's name stays.
    let named = place.read("name") == "buildkitsandbox\n";
    let options = with_args(place.run_options(text), &[("BUILDKIT_SANDBOX_HOSTNAME", "mine.example")]);
    let built = build(&place.store, &options, &Control::default()).unwrap();
    assert!(built.carried_out > 0, "another name is another step");
    if named {
        assert_eq!(place.read("name"), "mine.example\n");
        assert!(place.read("hosts").contains("mine.example"), "{}", place.read("hosts"));
    }
    // `none` for all commands is what each says by itself.
    let alone = place.run("RUN --network=none true\n").unwrap();
    let options = BuildOptions { no_network: true, ..place.run_options("RUN true\n") };
    let same = build(&place.store, &options, &Control::default()).unwrap();
    assert_eq!(same.carried_out, 0);
    assert!(alone.carried_out > 0);
    let options = BuildOptions { no_network: true, ..place.run_options("RUN --network=host true\n") };
    assert_eq!(build(&place.store, &options, &Control::default()).unwrap().carried_out, 0, "as without");
}

#[test]
fn output_has_a_limit_that_is_said_once() {
    let Some(place) = with_shell().filter(Place::can_run) else { return };
    let (events, seen) = observed();
    let control = Control { events, ..Control::default() };
    let text = "RUN busybox yes 123456789 | busybox head -c 5000000; echo wrong >&2\nRUN echo fine\n";
    build(&place.store, &place.run_options(text), &control).unwrap();
    let seen = seen.lock().unwrap();
    let of = |wanted: &str| {
        seen.iter()
            .find_map(|event| match event {
                Event::Started { step, text, .. } if text.starts_with(wanted) => Some(*step),
                _ => None,
            })
            .unwrap()
    };
    let output = |wanted: u32| -> usize {
        let of_step = seen.iter().map(|event| match event {
            Event::Output { step, bytes, .. } if *step == wanted => bytes.len(),
            _ => 0,
        });
        of_step.sum()
    };
    assert_eq!((output(of("RUN busybox")), output(of("RUN echo"))), (2 << 20, 5));
    let dropped: Vec<(u32, u64)> = seen
        .iter()
        .filter_map(|event| match event {
            Event::OutputDropped { step, bytes } => Some((*step, *bytes)),
            _ => None,
        })
        .collect();
    assert_eq!(dropped, [(of("RUN busybox"), 5_000_006 - (2 << 20))]);
    let said = seen
        .iter()
        .filter(|event| matches!(event, Event::Warning { message, .. } if message.contains("2 MiB")));
    assert_eq!(said.count(), 1);
}

/// Groups, capabilities that programs inherit, descriptors and variables of a command are those of the image and no others.
#[test]
fn a_command_gets_nothing_of_the_process_that_builds() {
    let Some(place) = with_shell().filter(Place::can_run) else { return };
    // By chroot(2) alone there is no /proc.
    let Ok(_) = place.run("RUN busybox test -r /proc/self/status\n") else {
        return println!("SKIP-PART proc: commands have no /proc here");
    };
    // Descriptors of this process that a program would inherit, beside those of Rust, which none does.
    let leaked: Vec<_> = (0..3)
        .map(|_| {
            let file = std::fs::File::open("/etc/passwd").unwrap();
            rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
            file
        })
        .collect();
    let text = "RUN echo 'more:x:77:app' >> /etc/group; echo 'root:x:0:' >> /etc/group\n\
                RUN busybox id -G > /root-groups; busybox ls /proc/self/fd > /root-fds; busybox grep CapInh /proc/self/status > /root-caps\n\
                RUN busybox mkdir -m 777 /w\nUSER app\n\
                RUN busybox id -G > /w/groups; busybox ls /proc/self/fd > /w/fds; busybox grep -E 'Cap(Inh|Amb)' /proc/self/status > /w/caps\n";
    place.run(text).unwrap();
    drop(leaked);
    // The last one is the directory that is listed.
    for path in ["root-fds", "w/fds"] {
        assert_eq!(place.read(path).split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "{path}");
    }
    assert_eq!(place.read("root-groups"), "0\n");
    assert_eq!(place.read("w/groups"), "32 77\n");
    let zero =
        |line: &str| line.split_whitespace().nth(1).is_some_and(|set| set.bytes().all(|byte| byte == b'0'));
    assert!(place.read("root-caps").lines().all(zero), "{}", place.read("root-caps"));
    assert!(place.read("w/caps").lines().all(zero), "{}", place.read("w/caps"));
}

/// What a field of the configuration says to a command is in its key, and what it does not say is not.
#[test]
fn a_field_of_the_configuration_decides_about_commands_that_see_it() {
    let Some(place) = with_shell().filter(Place::can_run) else { return };
    let run = "RUN true\n";
    let base = place.run(run).unwrap();
    let mut ids = vec![base.image_id];
    let (miss, hit) = (true, false);
    for (field, runs_again) in [
        ("USER app", miss),
        ("WORKDIR /w", miss),
        ("SHELL [\"/bin/sh\", \"-e\", \"-c\"]", miss),
        ("ENV A=1", miss),
        ("ENV A=2", miss),
        ("ENV PATH=/bin", miss),
        ("ARG A=3", miss),
        ("LABEL a=b", hit),
        ("CMD [\"x\"]", hit),
        ("ENTRYPOINT [\"x\"]", hit),
        ("EXPOSE 80", hit),
        ("VOLUME /v", hit),
        ("STOPSIGNAL 9", hit),
        ("HEALTHCHECK CMD true", hit),
        ("HEALTHCHECK --interval=5s CMD true", hit),
        ("ONBUILD RUN false", hit),
        ("MAINTAINER me", hit),
    ] {
        let built = place.run(&format!("{field}\n{run}")).unwrap();
        // WORKDIR is a step itself.
        let steps = u64::from(runs_again) + u64::from(field.starts_with("WORKDIR"));
        assert_eq!(built.carried_out, steps, "{field}");
        assert!(!ids.contains(&built.image_id), "{field}: the image is another");
        ids.push(built.image_id);
        assert_eq!(place.run(&format!("{field}\n{run}")).unwrap().carried_out, 0, "{field}");
    }
    // The same of a base image that has the same layers.
    for (field, runs_again) in [
        ("", hit),
        ("USER app\n", miss),
        ("ENV A=1\n", miss),
        ("ENV A=9\n", miss),
        ("LABEL a=b\n", hit),
        ("HEALTHCHECK CMD x\n", hit),
    ] {
        let options = BuildOptions { tags: vec!["base".into()], ..place.run_options(field) };
        build(&place.store, &options, &Control::default()).unwrap();
        let text = "FROM base\nRUN echo of the base\n";
        let options =
            BuildOptions { dockerfile: DockerfileSource::Text(text.into()), ..place.run_options("") };
        let built = build(&place.store, &options, &Control::default()).unwrap();
        assert_eq!(built.carried_out, u64::from(runs_again || field.is_empty()), "{field}");
    }
    // A trigger is an instruction of the stage that is built on it.
    let options =
        BuildOptions { tags: vec!["base".into()], ..place.run_options("ONBUILD RUN echo x > /triggered\n") };
    build(&place.store, &options, &Control::default()).unwrap();
    let options =
        BuildOptions { dockerfile: DockerfileSource::Text("FROM base\n".into()), ..place.run_options("") };
    assert_eq!(build(&place.store, &options, &Control::default()).unwrap().carried_out, 1);
    assert_eq!(place.read("triggered"), "x\n");
}

/// Ctrl-C in the midst of a command ends it, leaves nothing of it, and keeps the steps before it.
#[test]
fn an_interrupted_build_leaves_nothing_and_keeps_what_was_cached() {
    let Some(place) = with_shell().filter(Place::can_run) else { return };
    // So that it is found among all processes of the machine.
    let length = format!("{}", 500_000 + std::process::id());
    let text = format!("{SHELL}RUN echo first > /first\nRUN echo begun; busybox sleep {length}\n");
    place.write("Dockerfile", &text);
    let mut child = Command::new(support::program())
        .args(["build", "--progress=plain", "-t", "interrupted", "."])
        .current_dir(&place.context)
        .env("TREERING_ROOT", place.scratch.join("store"))
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut before = Vec::new();
    let begun = lines.by_ref().find(|line| {
        before.push(line.clone());
        line.ends_with(" begun")
    });
    assert!(begun.is_some(), "{before:#?}");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let after: Vec<String> = lines.collect();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130), "{after:#?}");
    let running = std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
        std::fs::read(process.path().join("cmdline"))
            .is_ok_and(|line| line.split(|&byte| byte == 0).any(|word| word == length.as_bytes()))
    });
    assert!(!running, "the command goes on");
    assert!(Image::open(&place.store, "interrupted", None).is_err());
    assert_eq!(std::fs::read_dir(place.scratch.join("store/tmp")).unwrap().count(), 0);
    let report = place.store.fsck(FsckLevel::Bytes, &Control::default()).unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
    let options = BuildOptions {
        source_date_epoch: None,
        ..place.run_options("RUN echo first > /first\nRUN echo begun\n")
    };
    let built = build(&place.store, &options, &Control::default()).unwrap();
    assert_eq!(built.carried_out, 1, "{built:?}");
    assert_eq!(place.read("first"), "first\n");
}
