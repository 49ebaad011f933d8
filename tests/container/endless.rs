//! A command that ends while something it left behind writes on: what waits for it ends as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use treering::Control;
use treering::container::{Container, CreateOptions, Process, ProcessOptions};
use treering::image::{CommitOptions, commit};
use treering::sandbox::Stream;
use treering::store::Store;

use support::busybox::World;

#[test]
fn what_a_command_left_behind_does_not_keep_its_output_open() {
    let Some(world) = World::new() else { return };
    let control = Control::default();
    let store = Store::open(world.join("store")).unwrap();
    commit(&store, &world.join("bb"), Some("bb:1"), &CommitOptions::default(), &control).unwrap();
    for rung in crate::process::rungs() {
        let container = Container::create(&store, "bb:1", &CreateOptions::default(), &control).unwrap();
        let reopened = Container::open(&store, container.name()).unwrap();
        let sh = |text: &str| ["sh", "-c", text].map(String::from).to_vec();
        let options = ProcessOptions {
            command: sh("sleep 1000"),
            helper: Some(env!("CARGO_BIN_EXE_treering").into()),
            rung: Some(rung),
            ..ProcessOptions::default()
        };
        let running = Process::of_container(container, options, &control).unwrap();
        let bytes = Arc::new(AtomicU64::new(0));
        let count = bytes.clone();
        let options = ProcessOptions {
            command: sh("echo first; while true; do echo more; done & sleep 0.1; exit 3"),
            stdout: Stream::Events,
            sink: Some(Box::new(move |_, bytes| {
                count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                Ok(())
            })),
            ..ProcessOptions::default()
        };
        let began = Instant::now();
        let one = Process::beside(&reopened, options, &control).unwrap();
        let ended = one.wait(Some(Duration::from_secs(10)));
        let took = began.elapsed();
        // With the container all of it ends, and a wait that hung does.
        drop(running);
        assert_eq!(ended.unwrap().map(|ended| ended.code), Some(3), "{rung} after {took:?}");
        assert!(bytes.load(Ordering::Relaxed) >= 6, "{rung}");
    }
}
