//! Commands by the library: in a directory, in a container, beside a container's command; waited for, ended, and without a trace.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use treering::container::{Container, CreateOptions, Process, ProcessOptions, Settings, Sink};
use treering::event::OutputStream;
use treering::image::{CommitOptions, UnpackOptions, commit, unpack};
use treering::sandbox::{Probed, Rung, Stream, ladder};
use treering::store::Store;
use treering::{Control, ErrorKind};

use support::busybox::World;

/// Set in a process that runs one test.
const ALONE: &str = "TREERING_TEST_ALONE";

/// A store with the image `bb:1`, and a directory of it.
pub struct Place {
    pub store: Store,
    pub tree: PathBuf,
    pub control: Control,
    _world: World,
}

pub fn place() -> Option<Place> {
    let world = World::new()?;
    let control = Control::default();
    let store = Store::open(world.join("store")).unwrap();
    commit(&store, &world.join("bb"), Some("bb:1"), &CommitOptions::default(), &control).unwrap();
    let tree = world.join("tree");
    unpack(&store, "bb:1", &tree, &UnpackOptions::default(), &control).unwrap();
    Some(Place { store, tree, control, _world: world })
}

pub type Output = Arc<Mutex<Vec<(OutputStream, Vec<u8>)>>>;

fn to(output: &Output) -> Option<Box<Sink>> {
    let output = output.clone();
    Some(Box::new(move |stream, bytes| {
        output.lock().unwrap().push((stream, bytes.to_vec()));
        Ok(())
    }))
}

pub fn text(output: &Output, wanted: OutputStream) -> String {
    let all = output.lock().unwrap();
    let bytes: Vec<u8> =
        all.iter().filter(|(stream, _)| *stream == wanted).flat_map(|(_, bytes)| bytes.clone()).collect();
    String::from_utf8(bytes).unwrap()
}

pub fn script(script: &str, output: &Output) -> ProcessOptions {
    ProcessOptions {
        command: ["sh", "-c", script].map(String::from).to_vec(),
        stdout: Stream::Events,
        stderr: Stream::Events,
        sink: to(output),
        helper: Some(env!("CARGO_BIN_EXE_treering").into()),
        ..ProcessOptions::default()
    }
}

/// Returns the rungs that work for this user.
pub fn rungs() -> Vec<Rung> {
    let helper = Path::new(env!("CARGO_BIN_EXE_treering"));
    let works = |probed: Probed| probed.works.then_some(probed.rung);
    ladder(Some(helper)).unwrap().into_iter().filter_map(works).collect()
}

impl Place {
    pub fn in_tree(&self, options: ProcessOptions) -> treering::Result<Process> {
        Process::in_tree(&self.store, &self.tree, &Settings::default(), options, &self.control)
    }

    pub fn container(&self, settings: Settings) -> Container {
        let options = CreateOptions { settings, ..CreateOptions::default() };
        Container::create(&self.store, "bb:1", &options, &self.control).unwrap()
    }
}

pub fn code(process: &Process) -> i32 {
    process.wait(Some(Duration::from_secs(30))).unwrap().expect("it ends").code
}

/// Returns the open descriptors of this process, and its children.
pub fn traces() -> (usize, String) {
    let open = Path::new("/proc/self/fd").read_dir().unwrap().count();
    let children = std::fs::read_to_string(format!("/proc/self/task/{}/children", std::process::id()));
    (open, children.unwrap_or_default())
}

#[test]
fn output_comes_by_stream_or_in_order() {
    let Some(place) = place() else { return };
    let say = "echo 1; echo 2 >&2; echo 3; echo 4 >&2; exit 7";
    for merge in [false, true] {
        let (output, again) = (Output::default(), Output::default());
        let process = place.in_tree(ProcessOptions { merge, ..script(say, &output) }).unwrap();
        assert!(process.rung().is_some());
        assert_eq!(code(&process), 7);
        let options = ProcessOptions { merge, ..script(say, &again) };
        let process =
            Process::of_container(place.container(Settings::default()), options, &place.control).unwrap();
        assert_eq!(code(&process), 7);
        for output in [output, again] {
            let both = (text(&output, OutputStream::Stdout), text(&output, OutputStream::Stderr));
            let expected = if merge { ("1\n2\n3\n4\n", "") } else { ("1\n3\n", "2\n4\n") };
            assert_eq!((both.0.as_str(), both.1.as_str()), expected);
        }
    }
}

#[test]
fn a_descriptor_is_read_and_written_and_settings_hold() {
    let Some(place) = place() else { return };
    let file = |name: &str, text: &str| {
        let path = place.tree.parent().unwrap().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (from, into) = (file("in", "question"), file("out", ""));
    let open =
        |path: &Path| OwnedFd::from(std::fs::File::options().read(true).append(true).open(path).unwrap());
    let settings =
        Settings { hostname: Some("host".into()), environment: vec!["A=1".into()], ..Settings::default() };
    let options = ProcessOptions {
        stdin: Stream::Fd(open(&from)),
        stdout: Stream::Fd(open(&into)),
        environment: vec!["B=2".into()],
        directory: Some("/bin".into()),
        user: Some("7:8".into()),
        sink: None,
        ..script("cat; echo; hostname; echo $A$B; pwd; id -u", &Output::default())
    };
    let process = Process::in_tree(&place.store, &place.tree, &settings, options, &place.control).unwrap();
    assert_eq!(code(&process), 0);
    assert_eq!(std::fs::read_to_string(&into).unwrap(), "question\nhost\n12\n/bin\n7\n");

    let container = place.container(settings);
    let options = ProcessOptions {
        stdin: Stream::Fd(open(&from)),
        stdout: Stream::Fd(open(&into)),
        ..script("cat; hostname; echo $A", &Output::default())
    };
    assert_eq!(code(&Process::of_container(container, options, &place.control).unwrap()), 0);
    assert!(std::fs::read_to_string(&into).unwrap().ends_with("questionhost\n1\n"));
}

/// Returns whether this test runs in a process of its own, where what others have open does not count; if not, it is run in one.
pub fn alone() -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let name = std::thread::current().name().unwrap().to_string();
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    let output = alone.args(["--exact", &name, "--nocapture"]).env(ALONE, "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    false
}

#[test]
fn a_command_is_ended_from_any_side_and_leaves_nothing() {
    if !alone() {
        return;
    }
    let Some(place) = place() else { return };
    // What the first command makes this process open for good.
    code(&place.in_tree(script("true", &Output::default())).unwrap());
    let before = traces();
    let long = "sleep 1000 & sleep 1000 & echo ready; wait";
    for way in 0..5 {
        let output = Output::default();
        let control = Control::default();
        let process = match way % 2 {
            0 => Process::in_tree(
                &place.store,
                &place.tree,
                &Settings::default(),
                script(long, &output),
                &control,
            ),
            _ => Process::of_container(place.container(Settings::default()), script(long, &output), &control),
        }
        .unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while text(&output, OutputStream::Stdout) != "ready\n" {
            assert!(Instant::now() < end, "{way}");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(
            process.ended().is_none() && process.wait(Some(Duration::from_millis(10))).unwrap().is_none()
        );
        match way {
            0 | 1 => process.kill(),
            2 => control.cancel.cancel(),
            3 => process.signal(9).unwrap(),
            _ => {
                drop(process);
                continue;
            }
        }
        let result = process.wait(Some(Duration::from_secs(20)));
        match way {
            3 => assert_eq!(result.unwrap().unwrap().code, 137),
            _ => assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled, "{way}"),
        }
        assert!(process.ended().is_some());
        process.signal(15).unwrap();
    }
    assert_eq!(traces(), before);
}

#[test]
fn a_sink_that_fails_ends_the_command() {
    let Some(place) = place() else { return };
    for in_tree in [true, false] {
        let sink: Box<Sink> = Box::new(|_, _| Err(std::io::Error::other("mine")));
        let options = ProcessOptions {
            sink: Some(sink),
            ..script("while echo x; do sleep 0.01; done; sleep 1000", &Output::default())
        };
        let process = match in_tree {
            true => place.in_tree(options),
            false => Process::of_container(place.container(Settings::default()), options, &place.control),
        };
        let error = process.unwrap().wait(Some(Duration::from_secs(20))).unwrap_err();
        assert!(error.to_string().contains("mine"), "{error}");
    }
}

#[test]
fn a_sink_that_waits_for_its_own_command_gets_an_error() {
    let Some(place) = place() else { return };
    for in_tree in [true, false] {
        let (give, take) = std::sync::mpsc::channel::<Process>();
        let (say, said) = std::sync::mpsc::channel();
        let mut kept = Some(take);
        let sink: Box<Sink> = Box::new(move |_, _| {
            // With what it is given by the thread that started the command; dropped in here.
            if let Some(process) = kept.take().and_then(|take| take.recv().ok()) {
                let patient = process.wait(Some(Duration::from_millis(50)));
                let _ = say
                    .send((patient.map(|it| it.is_some()), process.wait(None).map_err(|error| error.kind())));
            }
            Ok(())
        });
        let options = ProcessOptions { sink: Some(sink), ..script("echo x; sleep 1000", &Output::default()) };
        let before = traces();
        let process = match in_tree {
            true => place.in_tree(options),
            false => Process::of_container(place.container(Settings::default()), options, &place.control),
        };
        give.send(process.unwrap()).unwrap();
        let (patient, endless) = said.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!((patient.unwrap(), endless.unwrap_err()), (false, ErrorKind::InvalidArgument));
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while traces() != before && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(traces(), before, "what the sink dropped has ended");
    }
}

#[test]
fn more_commands_run_beside_a_container_and_many_at_once() {
    let Some(place) = place() else { return };
    let control = &place.control;
    for rung in rungs() {
        let first = Output::default();
        let container = place.container(Settings { rung: Some(rung.to_string()), ..Settings::default() });
        let name = container.name().to_string();
        let reopened = Container::open(&place.store, &name).unwrap();
        let running =
            Process::of_container(container, script("mkfifo /q; read x </q; echo $x", &first), control)
                .unwrap();
        assert_eq!(running.rung(), Some(rung));
        std::thread::scope(|scope| {
            for number in 0..4 {
                let reopened = &reopened;
                scope.spawn(move || {
                    let output = Output::default();
                    let mut options = script(&format!("echo {number}; sleep 1000 & exit {number}"), &output);
                    options.helper = None;
                    let process = Process::beside(reopened, options, control).unwrap();
                    assert_eq!(code(&process), number, "{rung}");
                    assert_eq!(text(&output, OutputStream::Stdout), format!("{number}\n"), "{rung}");
                });
            }
        });
        let refused = Process::beside(&reopened, script("true", &first), control).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "it names a helper");
        let asked = ProcessOptions {
            helper: None,
            ..script("while [ ! -e /q ]; do sleep 0.01; done; echo done >/q", &first)
        };
        let asked = Process::beside(&reopened, asked, control).unwrap();
        assert_eq!(code(&running), 0, "{rung}");
        assert_eq!(text(&first, OutputStream::Stdout), "done\n", "{rung}");
        // It ended with the first one, if not before.
        assert!(
            asked.wait(Some(Duration::from_secs(20))).is_ok_and(|it| it.is_some()) || asked.ended().is_some(),
            "{rung}"
        );
    }
    let first = Output::default();
    let not = ProcessOptions { command: vec!["/no/such".into()], ..script("", &first) };
    let missing = place.in_tree(not).and_then(|process| process.wait(None)).unwrap_err();
    assert_eq!((missing.kind(), missing.exit_code()), (ErrorKind::CommandFailed, Some(127)));
}
