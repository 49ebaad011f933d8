//! Transfers end with as many bytes as their total says.

use std::sync::atomic::Ordering;

use treering::Control;
use treering::image::UnpackOptions;
use treering::registry::{PullOptions, PushOptions, pull, pull_and_unpack, push};
use treering::store::Store;

use crate::fake::Fake;
use crate::world::World;

#[test]
fn transfers_end_at_their_total() {
    let fake = Fake::start();
    let name = fake.name("progress:v1");
    let world = World::with_image(&name, 3 << 20);
    let run = |what: &str, work: &dyn Fn(&Control)| {
        let control = Control::default();
        work(&control);
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let (read, total) = (load(&control.counters.bytes_read), load(&control.counters.bytes_total));
        assert_eq!(read, total, "{what}");
        assert!(load(&control.counters.entries) > 0, "{what}");
        total
    };
    let registries = world.registries("");
    let sent = run("push", &|control| {
        push(&world.store, &registries, &name, &name, &PushOptions::default(), control).unwrap();
    });
    assert!(sent > 0);
    let again = run("push again", &|control| {
        push(&world.store, &registries, &name, &name, &PushOptions::default(), control).unwrap();
    });
    assert_eq!(again, 0, "nothing travels");
    let other = Store::open(world.scratch.join("other")).unwrap();
    let came = run("pull", &|control| {
        pull(&other, &registries, &name, &PullOptions::default(), control).unwrap();
    });
    assert!(came > 0);
    let third = Store::open(world.scratch.join("third")).unwrap();
    let both = run("pull and unpack", &|control| {
        let (dir, options) = (world.scratch.join("unpacked"), UnpackOptions::default());
        pull_and_unpack(&third, &registries, &name, &dir, &PullOptions::default(), &options, control)
            .unwrap();
    });
    assert!(both > came, "what is unpacked is read");
}
