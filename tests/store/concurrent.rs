//! Many processes and threads in one store.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use treering::store::{FsckLevel, PruneOptions, Store};
use treering::{Control, Digest, ErrorKind};

use crate::world::{child, digest, name, problems, tag_image};

/// 16 processes give 100 names each, while others prune, read and check: none is lost, and nothing looks damaged.
#[test]
fn no_name_is_lost() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("store");
    // The store is not made yet: they also race for that.
    let mut children: Vec<_> = (0..16)
        .map(|i| child("tag-40", &root, &i.to_string()).stdin(Stdio::piped()).spawn().unwrap())
        .collect();
    let store = Store::open(&root).unwrap();
    // Half way all of them wait: one prune at least comes in between, whichever is faster.
    for child in &mut children {
        let said = BufReader::new(child.stdout.as_mut().unwrap());
        assert!(said.lines().any(|line| line.unwrap().ends_with("half way")), "a child ended early");
    }
    store.prune(&PruneOptions::default(), &Control::default()).unwrap();
    children.iter_mut().for_each(|child| drop(child.stdin.take()));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pruner = scope.spawn(|| {
            let mut pruned = 0;
            while !done.load(Ordering::Relaxed) {
                let options = PruneOptions { wait: Duration::from_millis(50), ..PruneOptions::default() };
                match store.prune(&options, &Control::default()) {
                    Ok(_) => pruned += 1,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Busy, "{error}"),
                }
                // It reads every manifest there is, and all others wait meanwhile.
                std::thread::sleep(Duration::from_secs(2));
            }
            pruned
        });
        let reader = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                let refs = store.refs().unwrap();
                assert!(refs.len() >= most, "names only ever appear");
                most = refs.len();
                if let Some(last) = refs.last() {
                    store.read_document(&last.descriptor).unwrap();
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let checker = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let found = store.fsck(FsckLevel::Structure, &Control::default()).unwrap().problems;
                assert!(found.is_empty(), "{found:?}");
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        for mut child in children.drain(..) {
            let status = child.wait().unwrap();
            if !status.success() {
                done.store(true, Ordering::Relaxed);
                let out = child.wait_with_output().unwrap();
                panic!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
            }
        }
        done.store(true, Ordering::Relaxed);
        println!("{} more prunes in between", pruner.join().unwrap());
        reader.join().unwrap();
        checker.join().unwrap();
    });
    assert_eq!(store.refs().unwrap().len(), 640);
    for process in 0..16 {
        for tag in 0..40 {
            store.resolve(&format!("p{process}:t{tag}")).unwrap();
        }
    }
    assert_eq!(problems(&store), [""; 0]);
}

#[test]
fn threads_share_one_store() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for tag in 0..20 {
                    tag_image(store, &format!("t{thread}:v{tag}"), &format!("{thread} {tag}")).unwrap();
                    // And one name they all fight for.
                    tag_image(store, "shared", &format!("{thread} {tag}")).unwrap();
                }
            });
        }
    });
    assert_eq!(store.refs().unwrap().len(), 161);
    assert_eq!(problems(&store), [""; 0]);
}

#[test]
fn a_pin_keeps_what_its_process_needs_until_it_dies() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path()).unwrap();
    tag_image(&store, "kept", "kept").unwrap();
    let mut writer = child("hold-pin", temp.path(), "").spawn().unwrap();
    // Its unnamed image is there, and there is something else that nothing needs.
    store.put_blob(b"unneeded").unwrap();
    while store.fsck(FsckLevel::Structure, &Control::default()).unwrap().blobs < 7 {
        assert!(writer.try_wait().unwrap().is_none(), "the writer ended early");
        std::thread::sleep(Duration::from_millis(5));
    }
    let now = PruneOptions { wait: Duration::ZERO, ..PruneOptions::default() };
    let dry = PruneOptions { dry_run: true, ..PruneOptions::default() };
    assert_eq!(store.prune(&dry, &Control::default()).unwrap().blobs.len(), 1);
    assert_eq!(store.prune(&now, &Control::default()).unwrap().blobs, [Digest::of(b"unneeded")]);
    // A lease of a moment, however, is waited for.
    let lease = store.lease().unwrap();
    let busy = store.prune(&now, &Control::default()).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    assert!(busy.hint().is_some());
    drop(lease);
    writer.kill().unwrap();
    writer.wait().unwrap();
    let report = store.prune(&PruneOptions::default(), &Control::default()).unwrap();
    assert_eq!(report.blobs.len(), 3, "the pin died with its process");
    assert!(store.has_blob(&digest(&store.resolve("kept").unwrap().descriptor)).unwrap());
    store.untag(&name("kept")).unwrap();
    assert_eq!(store.prune(&PruneOptions::default(), &Control::default()).unwrap().blobs.len(), 3);
}
