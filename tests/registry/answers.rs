//! Lists and indexes without measure, and what one failure means for the rest.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use treering::image::UnpackOptions;
use treering::registry::{
    CopyOptions, Credential, PullOptions, Pulled, PushOptions, copy, login, pull, pull_and_unpack, push, tags,
};
use treering::{Control, Digest, Error, ErrorKind};

use crate::fake::{Act, Answer, Door, Fake};
use crate::world::World;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

fn pull_from(world: &World, name: &str) -> Result<Pulled, Error> {
    pull(&world.store, &world.registries(""), name, &PullOptions::default(), &world.control)
}

#[test]
fn a_list_with_something_that_is_no_tag_is_refused() {
    let (fake, world) = (Fake::start(), World::new());
    let list = |body: String| {
        fake.rule(move |seen| {
            seen.target.contains("/tags/").then(|| Act::Say(Answer::new(200).body(body.clone())))
        });
        tags(&world.registries(""), &fake.name("app"), &world.control)
    };
    let long = "a".repeat(129);
    for tag in ["\u{1b}[2J", "a b", "", "-a", "a\nb", "ä", "a/b", &long] {
        let error = list(json!({ "tags": ["v1", tag] }).to_string()).expect_err(tag);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{tag:?}: {error}");
        let shown = world.run(&["tags", &fake.name("app")], "");
        assert!(
            !shown.status.success() && shown.stdout.is_empty() && !shown.stderr.contains(&0x1b),
            "{tag:?}"
        );
    }
    for body in ["{\"tags\":[1]}", "{\"tags\":\"v1\"}", "[]", "<html>", ""] {
        assert_eq!(list(body.into()).expect_err(body).kind(), ErrorKind::Corrupt, "{body}");
    }
    for body in ["{}", "{\"tags\":null}", "{\"name\":\"app\",\"tags\":[]}"] {
        assert_eq!(list(body.into()).unwrap(), Vec::<String>::new(), "{body}");
    }
    assert_eq!(list(json!({ "tags": ["v1", &long[1..]] }).to_string()).unwrap().len(), 2);
}

/// Returns an index with these entries.
fn index(entries: &[Value]) -> Vec<u8> {
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries }).to_string().into_bytes()
}

fn entry(media_type: &str, digest: &str, size: usize) -> Value {
    json!({ "mediaType": media_type, "digest": digest, "size": size })
}

#[test]
fn an_index_that_leads_to_more_than_anyone_has_is_refused() {
    let (fake, world) = (Fake::start(), World::new());
    // Five indexes inside one, with twenty-two thousand manifests each.
    let mut inner = Vec::new();
    for part in 0..5u32 {
        let digest = |n: u32| format!("sha256:{:064x}", (u64::from(part) << 32) + u64::from(n));
        let entries: Vec<Value> = (0..22_000).map(|n| entry(MANIFEST, &digest(n), 2)).collect();
        let bytes = index(&entries);
        assert!(bytes.len() < 4 << 20);
        let found = fake.manifest("app", &format!("part{part}"), INDEX, &bytes);
        inner.push(entry(INDEX, &found, bytes.len()));
    }
    fake.manifest("app", "many", INDEX, &index(&inner));
    // Few, and large as their index says.
    let digest = |n: u32| format!("sha256:{n:064x}");
    let large: Vec<Value> = (0..20).map(|n| entry(MANIFEST, &digest(n), 4 << 20)).collect();
    fake.manifest("app", "large", INDEX, &index(&large));
    let all = PullOptions { all_platforms: true, ..PullOptions::default() };
    let platform = Some("linux/amd64".parse().unwrap());
    let (registries, control) = (world.registries(""), Control::default());
    for tag in ["many", "large"] {
        let name = fake.name(&format!("app:{tag}"));
        for options in [&PullOptions::default(), &all] {
            let error = pull(&world.store, &registries, &name, options, &control).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Limit, "{tag}: {error}");
        }
        let options = CopyOptions { platform: platform.clone(), ..CopyOptions::default() };
        if tag == "large" {
            for options in [&CopyOptions::default(), &options] {
                let error = copy(&registries, &name, &fake.name("to:v1"), options, &control).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
            }
        }
    }
    assert!(world.store.refs().unwrap().is_empty());
}

#[test]
fn what_an_index_lists_many_times_is_fetched_once() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let world = World::with_image(&name, 1000);
    let registries = world.registries("");
    let pushed =
        push(&world.store, &registries, &name, &name, &PushOptions::default(), &world.control).unwrap();
    let one = entry(MANIFEST, &pushed.digest.to_string(), pushed.size as usize);
    fake.manifest("app", "many", INDEX, &index(&vec![one; 500]));
    let many = fake.name("app:many");
    let of_it = pushed.digest.to_string();
    let asked = || fake.log().iter().filter(|seen| seen.is("GET", &of_it)).count();
    let host = Some(treering::image::Platform::host());
    for platform in [None, host] {
        fake.rule(|_| None);
        let options = CopyOptions { platform, ..CopyOptions::default() };
        copy(&registries, &many, &fake.name("to:v1"), &options, &world.control).unwrap();
        assert_eq!(asked(), 1);
    }
    fake.rule(|_| None);
    let options = PullOptions { all_platforms: true, ..PullOptions::default() };
    pull(&World::new().store, &registries, &many, &options, &world.control).unwrap();
    assert_eq!(asked(), 1);
}

#[test]
fn a_layer_that_fails_ends_the_others() {
    let fake = Fake::start();
    // One takes minutes, and one is not there.
    let (slow, size) = (Digest::of(b"slow").to_string(), 4u64 << 30);
    let missing = Digest::of(b"missing").to_string();
    fake.with(|state| {
        state.zeros.insert(slow.clone(), (Vec::new(), size));
        state.pause = Some(Duration::from_millis(5));
    });
    let layer = |digest: &str, size: u64| json!({ "mediaType": TAR, "digest": digest, "size": size });
    for order in [[&slow, &missing], [&missing, &slow]] {
        let config = json!({
            "os": "linux", "architecture": treering::image::Platform::host().architecture, "config": {},
            "rootfs": { "type": "layers", "diff_ids": order },
        });
        let config = config.to_string();
        let digest = fake.blob("app", config.as_bytes());
        let layers: Vec<Value> =
            order.iter().map(|digest| layer(digest, if **digest == slow { size } else { 5 << 20 })).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "layers": layers,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": config.len() },
        });
        fake.manifest("app", "v1", MANIFEST, manifest.to_string().as_bytes());
        // Only once the other one is on its way.
        let gone = missing.clone();
        fake.rule(move |seen| {
            seen.is("GET", &gone).then(|| {
                std::thread::sleep(Duration::from_millis(500));
                Act::Say(Answer::error(404, "BLOB_UNKNOWN"))
            })
        });
        let name = fake.name("app:v1");
        for unpacked in [false, true] {
            let (world, began) = (World::new(), Instant::now());
            let error = match unpacked {
                false => pull_from(&world, &name).unwrap_err(),
                true => {
                    let (options, unpack) = (PullOptions::default(), UnpackOptions::default());
                    let (registries, dir) = (world.registries(""), world.scratch.join("tree"));
                    pull_and_unpack(&world.store, &registries, &name, dir, &options, &unpack, &world.control)
                        .unwrap_err()
                }
            };
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
            assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
            // What has arrived of the other one is there for the next pull.
            let partial = format!("tmp/partial-{}", slow.strip_prefix("sha256:").unwrap());
            let kept = std::fs::metadata(world.store.root_path().join(partial)).unwrap().len();
            assert!(kept > 0 && kept < size, "{kept}");
        }
    }
}

#[test]
fn a_blob_that_is_refused_ends_the_other_uploads() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let world = World::with_image(&name, 3 << 20);
    // The large one waits for a minute, the configuration is refused.
    let config = treering::image::Image::open(&world.store, &name, None).unwrap().id().hex();
    fake.rule(move |seen| match seen.method.as_str() {
        "PATCH" => Some(Act::Say(Answer::new(503).with("retry-after", "50"))),
        "PUT" if seen.target.contains(&config) => {
            std::thread::sleep(Duration::from_millis(500));
            Some(Act::Say(Answer::error(403, "DENIED")))
        }
        _ => None,
    });
    let began = Instant::now();
    let options = PushOptions::default();
    let error =
        push(&world.store, &world.registries(""), &name, &name, &options, &world.control).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn a_token_server_that_has_no_tokens_is_no_missing_image() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let world = World::with_image(&name, 1000);
    fake.with(|state| state.door = Door::Bearer { realm: fake.url("/token"), basic: String::new() });
    for status in [400, 404, 405] {
        fake.rule(move |seen| {
            seen.target.starts_with("/token").then(|| Act::Say(Answer::error(status, "SAID")))
        });
        let options = PushOptions::default();
        let (registries, control) = (world.registries(""), &world.control);
        let asked = [
            pull_from(&world, &name).unwrap_err(),
            push(&world.store, &registries, &name, &name, &options, control).unwrap_err(),
            tags(&registries, &fake.name("app"), control).unwrap_err(),
            login(&registries, &fake.name(""), &Credential::basic("u", "p"), control).unwrap_err(),
        ];
        for error in asked {
            assert_eq!(error.kind(), ErrorKind::Unauthorized, "{status}: {error}");
            assert!(error.message().contains(&format!("answered {status}: SAID")), "{error}");
        }
    }
}

#[test]
fn a_cancel_ends_the_search_for_a_foreign_layer() {
    const FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    let (fake, elsewhere) = (Fake::start(), Fake::start());
    let config = json!({
        "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": [Digest::of(b"x").to_string()] },
    })
    .to_string();
    let digest = fake.blob("app", config.as_bytes());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": config.len() },
        "layers": [{ "mediaType": FOREIGN, "digest": Digest::of(b"x").to_string(), "size": 1, "urls": [elsewhere.url("/x")] }],
    });
    fake.manifest("app", "v1", MANIFEST, manifest.to_string().as_bytes());
    elsewhere.rule(|_| Some(Act::Stall));
    let world = World::new();
    let registries =
        world.registries("").with_patience(Duration::from_secs(60), 1, Duration::from_millis(10));
    std::thread::scope(|scope| {
        let name = fake.name("app:v1");
        let (world, registries) = (&world, &registries);
        let pulling = scope
            .spawn(move || pull(&world.store, registries, &name, &PullOptions::default(), &world.control));
        let began = Instant::now();
        while elsewhere.log().is_empty() {
            assert!(began.elapsed() < Duration::from_secs(30), "nothing is asked");
            std::thread::sleep(Duration::from_millis(5));
        }
        world.control.cancel.cancel();
        let error = pulling.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    });
}

#[test]
fn a_registry_does_not_lead_to_addresses_of_this_link() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let world = World::with_image(&name, 1000);
    let options = PushOptions::default();
    push(&world.store, &world.registries(""), &name, &name, &options, &world.control).unwrap();
    for place in ["169.254.169.254", "[fe80::1]", "0.0.0.0", "[::]", "224.0.0.1", "[::ffff:169.254.169.254]"]
    {
        for part in ["/manifests/", "/blobs/"] {
            fake.rule(move |seen| {
                let to = format!("http://{place}{}", seen.target);
                seen.is("GET", part).then(|| Act::Say(Answer::new(307).with("location", to)))
            });
            let error = pull_from(&World::new(), &name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{place} {part}: {error}");
        }
    }
}
