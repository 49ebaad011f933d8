//! Blobs that a registry has already: what need not be asked for, what is not believed, and where else a part may be.

use std::time::Duration;

use serde_json::json;
use treering::image::{CommitOptions, Image, ManifestOptions, commit, new_manifest};
use treering::registry::{
    CopyOptions, Credential, PullOptions, PushOptions, Pushed, copy, login, pull, push, read_manifest,
};
use treering::store::{Limits, Reference, descriptor};
use treering::{Digest, Error, ErrorKind};

use crate::fake::{Act, Answer, Door, Fake, Seen};
use crate::world::World;
use support::sh;

const BASIC: &str = "Basic dXNlcjpzZWNyZXQ=";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn push_to(world: &World, from: &str, to: &str) -> Result<Pushed, Error> {
    push(&world.store, &world.registries(""), from, to, &PushOptions::default(), &world.control)
}

/// Commits one more layer, too large to be sent without asking, as `to`.
fn grow(world: &World, to: &str) {
    let tree = world.scratch.join("tree");
    sh(&tree, "head -c 20000 /dev/urandom >$(date +%s.%N)");
    commit(&world.store, &tree, Some(to), &CommitOptions::default(), &world.control).unwrap();
}

#[test]
fn a_new_tag_of_an_image_takes_ten_requests_whatever_lies_below() {
    for layers in [5, 40] {
        let fake = Fake::start();
        let (first, second) = (fake.name("app:v1"), fake.name("app:v2"));
        let world = World::with_image(&first, 20_000);
        for _ in 2..layers {
            grow(&world, &first);
        }
        fake.with(|state| state.door = Door::Bearer { realm: fake.url("/token"), basic: String::new() });
        push_to(&world, &first, &first).unwrap();
        // Another tag of the same, which the registry does not have.
        let image = Image::open(&world.store, &first, None).unwrap();
        let old = Reference::parse(&fake.name("app:old")).unwrap();
        world.store.tag(&old, image.descriptor()).unwrap();
        world.change(&second);
        fake.rule(|_| None);
        let pushed = push_to(&world, &second, &second).unwrap();
        assert_eq!((pushed.sent, pushed.present, pushed.mounted), (2, layers, 0));
        let log = fake.log();
        assert!(log.len() <= 10, "{layers}: {:#?}", log.iter().map(|seen| &seen.target).collect::<Vec<_>>());
        // Where no other tag has them, each is asked for, and nothing is taken for granted.
        fake.with(|state| state.manifests.clear());
        let third = fake.name("app:v3");
        let pushed = push_to(&world, &second, &third).unwrap();
        assert_eq!((pushed.sent, pushed.present), (3, layers - 1));
    }
}

#[test]
fn a_blob_that_the_registry_lost_is_sent_again() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let world = World::with_image(&name, 50_000);
    push_to(&world, &name, &name).unwrap();
    let layer = Image::open(&world.store, &name, None).unwrap().layers()[0].digest.to_string();
    let as_400: fn(Answer) -> Answer = |mut answer| {
        if answer.status == 404 {
            answer.status = 400;
        }
        answer
    };
    let target = fake.name("copy:v1");
    let registries = world.registries("");
    let copied = || copy(&registries, &name, &target, &CopyOptions::default(), &world.control);
    copied().unwrap();
    for refused in [None, Some(Act::Change(as_400))] {
        let lose = |repository: &str| {
            let lost = (repository.to_string(), layer.clone());
            fake.with(|state| state.blobs.remove(&lost).unwrap());
            let refused = refused.clone();
            fake.rule(move |seen| if seen.is("PUT", "/manifests/") { refused.clone() } else { None });
            lost
        };
        let lost = lose("app");
        world.change(&name);
        let pushed = push_to(&world, &name, &name).unwrap();
        assert!(pushed.sent >= 2, "{pushed:?}");
        assert!(fake.with(|state| state.blobs.contains_key(&lost)));
        let lost = lose("copy");
        let copied = copied().unwrap();
        assert!(copied.sent + copied.mounted >= 1, "{copied:?}");
        assert!(fake.with(|state| state.blobs.contains_key(&lost)));
    }
    // One that is refused although all is there is refused.
    fake.rule(|seen| {
        seen.is("PUT", "/manifests/").then(|| Act::Say(Answer::error(404, "MANIFEST_BLOB_UNKNOWN")))
    });
    assert_eq!(push_to(&world, &name, &name).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(fake.log().iter().filter(|seen| seen.is("PUT", "/manifests/")).count(), 2);
}

#[test]
fn a_mount_that_is_not_done_becomes_an_upload() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let world = World::with_image(&name, 50_000);
    push_to(&world, &name, &name).unwrap();
    for status in [202, 400, 403, 404, 405] {
        let target = fake.name(&format!("copy{status}:v1"));
        // Without the blobs the usual answer is 202.
        fake.with(|state| state.blobs.retain(|(repository, _), _| repository != "app"));
        fake.rule(move |seen| {
            let refused = status != 202 && seen.is("POST", "mount=");
            refused.then(|| Act::Say(Answer::error(status, "UNSUPPORTED")))
        });
        let pushed = push_to(&world, &name, &target).unwrap_or_else(|error| panic!("{status}: {error}"));
        assert_eq!((pushed.sent, pushed.mounted), (3, 0), "{status}");
        assert_eq!(fake.log().iter().filter(|seen| seen.is("POST", "mount=")).count(), 3, "{status}");
    }
}

/// Token servers may refuse all that is asked for because of one part of it.
#[test]
fn where_no_token_is_given_for_mounts_blobs_are_sent() {
    for status in [400, 401, 403, 404] {
        let fake = Fake::start();
        let name = fake.name("app:v1");
        let world = World::with_image(&name, 50_000);
        push_to(&world, &name, &name).unwrap();
        fake.with(|state| state.door = Door::Bearer { realm: fake.url("/token"), basic: BASIC.into() });
        let registries = world.registries("");
        login(&registries, &fake.name(""), &Credential::basic("user", "secret"), &world.control).unwrap();
        let denied = |seen: &Seen| {
            let has = |scope: &str| seen.target.contains(scope);
            has("/token?") && has("repository%3Aapp%3Apull") && has("repository%3Acopy")
        };
        let rule = move |seen: &Seen| denied(seen).then(|| Act::Say(Answer::error(status, "DENIED")));
        let check = |sent: u64, mounted: u64| {
            assert_eq!((sent, mounted), (3, 0), "{status}");
            let log = fake.log();
            assert_eq!(log.iter().filter(|seen| denied(seen)).count(), 1, "{status}");
            assert!(log.iter().all(|seen| !seen.target.contains("mount=")), "{status}");
        };
        fake.rule(rule);
        let pushed = push_to(&world, &name, &fake.name("copy:v1"));
        let pushed = pushed.unwrap_or_else(|error| panic!("{status}: {error}"));
        check(pushed.sent, pushed.mounted);
        fake.with(|state| state.blobs.retain(|(repository, _), _| repository == "app"));
        fake.rule(rule);
        let to = fake.name("copy:v2");
        let copied = copy(&registries, &name, &to, &CopyOptions::default(), &world.control);
        let copied = copied.unwrap_or_else(|error| panic!("{status}: {error}"));
        check(copied.sent, copied.mounted);
        // Where all of it is granted, nothing is sent.
        fake.rule(|_| None);
        let copied =
            copy(&registries, &name, &fake.name("third:v1"), &CopyOptions::default(), &world.control);
        assert_eq!(copied.unwrap().mounted, 3, "{status}");
        // A password that is wrong is wrong for the rest, too.
        let wrong = World::new();
        let auth = json!({ "auths": { format!("127.0.0.1:{}", fake.port): { "auth": "dXNlcjp3cm9uZw==" } } });
        wrong.file("auth.json", &auth.to_string());
        fake.rule(|_| None);
        let refused = push(
            &world.store,
            &wrong.registries(""),
            &name,
            &fake.name("copy:v3"),
            &PushOptions::default(),
            &world.control,
        );
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
        assert!(error.message().contains("no token was given") && error.hint().is_some(), "{error}");
        assert!(fake.log().iter().all(|seen| seen.method != "POST"), "nothing is tried with it");
    }
}

/// Questions save work, and an account that may only write is not answered.
#[test]
fn an_account_that_may_not_read_pushes_all_the_same() {
    let doors: [fn(&Fake) -> Door; 3] = [
        |_| Door::Open,
        |_| Door::Basic(BASIC.into()),
        |fake| Door::Bearer { realm: fake.url("/token"), basic: BASIC.into() },
    ];
    for door in doors {
        for (status, questions) in [(403, "manifests"), (403, "all"), (401, "manifests"), (401, "all")] {
            let fake = Fake::start();
            let name = fake.name("app:v1");
            let world = World::with_image(&name, 50_000);
            let door = door(&fake);
            let what = format!("{door:?} {status} {questions}");
            let is_open = matches!(door, Door::Open);
            let challenge = match &door {
                Door::Open => String::new(),
                Door::Basic(_) => "Basic realm=\"fake\"".to_string(),
                Door::Bearer { realm, .. } => format!("Bearer realm=\"{realm}\",service=\"fake\""),
            };
            fake.with(|state| state.door = door);
            let registries = world.registries("");
            if !is_open {
                login(&registries, &fake.name(""), &Credential::basic("user", "secret"), &world.control)
                    .unwrap();
            }
            let answer = Answer::error(status, "DENIED").with("www-authenticate", challenge);
            fake.rule(move |seen| {
                let manifest = seen.is("GET", "/manifests/");
                let reads = manifest || questions == "all" && seen.is("HEAD", "/blobs/");
                // Without credentials the door answers.
                let in_order = is_open || !seen.header("authorization").is_empty();
                (reads && in_order).then(|| Act::Say(answer.clone()))
            });
            let pushed = push_to(&world, &name, &name).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(pushed.sent, 3, "{what}");
            assert!(fake.tag("app", "v1").is_some(), "{what}");
            let from = Fake::start();
            push_to(&world, &name, &from.name("app:v1")).unwrap();
            let (source, target) = (from.name("app:v1"), fake.name("copied:v1"));
            let copied = copy(&registries, &source, &target, &CopyOptions::default(), &world.control);
            assert_eq!(copied.unwrap_or_else(|error| panic!("{what}: {error}")).sent, 3, "{what}");
        }
    }
    // Credentials that are wrong are no such account, and are not tried again and again.
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let world = World::with_image(&name, 50_000);
    let auth = json!({ "auths": { format!("127.0.0.1:{}", fake.port): { "auth": "dXNlcjp3cm9uZw==" } } });
    world.file("auth.json", &auth.to_string());
    fake.with(|state| state.door = Door::Basic(BASIC.into()));
    let error = push_to(&world, &name, &name).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    assert!(error.message().contains("answered 401") && error.hint().is_some(), "{error}");
    assert!(fake.credentials_seen() <= 2, "{}", fake.credentials_seen());
    assert!(fake.log().iter().all(|seen| seen.method == "GET"));
    // What may not be written is refused.
    fake.with(|state| state.door = Door::Open);
    for status in [401, 403] {
        fake.rule(move |seen| (seen.method != "GET").then(|| Act::Say(Answer::error(status, "DENIED"))));
        let error = push_to(&world, &name, &name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
        assert!(error.message().contains("DENIED"), "{error}");
    }
}

#[test]
fn a_part_that_a_mirror_lacks_comes_from_the_registry() {
    let (mirror, fake, to) = (Fake::start(), Fake::start(), Fake::start());
    let name = fake.name("app:v1");
    let world = World::with_image(&name, 50_000);
    push_to(&world, &name, &name).unwrap();
    let layer = Image::open(&world.store, &name, None).unwrap().layers()[0].digest.to_string();
    let (blobs, manifests) = fake.with(|state| (state.blobs.clone(), state.manifests.clone()));
    mirror.with(|state| {
        (state.blobs, state.manifests) = (blobs, manifests);
        state.blobs.retain(|(_, digest), _| *digest != layer);
    });
    let config =
        format!("[[registry]]\nprefix = '127.0.0.1:{}'\nmirrors = ['{}']\n", fake.port, mirror.url(""));
    let registries = world.registries(&config);
    fake.rule(|_| None);
    let copied =
        copy(&registries, &name, &to.name("copy:v1"), &CopyOptions::default(), &world.control).unwrap();
    assert_eq!(copied.sent, 3);
    assert_eq!(to.tag("copy", "v1"), fake.tag("app", "v1"));
    assert!(fake.log().iter().all(|seen| seen.target.contains(&layer) || seen.target == "/v2/"));
    let reader = World::new();
    let registries = reader.registries(&config);
    pull(&reader.store, &registries, &name, &PullOptions::default(), &reader.control).unwrap();
}

/// Puts an image for two platforms into a registry, in Docker's own formats.
fn dockers_list(fake: &Fake) -> Vec<(String, String)> {
    const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    const SCHEMA2: &str = "application/vnd.docker.distribution.manifest.v2+json";
    let (mut entries, mut out) = (Vec::new(), Vec::new());
    for (architecture, variant) in [("amd64", None), ("arm", Some("v7"))] {
        let tar = vec![0; 1024 * (1 + out.len())];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &tar).unwrap();
        let layer = gzip.finish().unwrap();
        let diff_id = Digest::of(&tar).to_string();
        let mut config = json!({
            "os": "linux", "architecture": architecture, "config": {},
            "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        });
        let mut platform = json!({ "os": "linux", "architecture": architecture });
        if let Some(variant) = variant {
            config["variant"] = variant.into();
            platform["variant"] = variant.into();
        }
        let config = config.to_string();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": SCHEMA2,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "digest": fake.blob("app", config.as_bytes()), "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "digest": fake.blob("app", &layer), "size": layer.len(),
            }],
        });
        let manifest = manifest.to_string();
        let digest = fake.manifest("app", &format!("only-{architecture}"), SCHEMA2, manifest.as_bytes());
        entries.push(
            json!({ "mediaType": SCHEMA2, "digest": digest, "size": manifest.len(), "platform": platform }),
        );
        let shown = ["linux", architecture].into_iter().chain(variant).collect::<Vec<_>>().join("/");
        out.push((shown, digest));
    }
    let list = json!({ "schemaVersion": 2, "mediaType": LIST, "manifests": entries });
    fake.manifest("app", "v1", LIST, list.to_string().as_bytes());
    out
}

#[test]
fn dockers_lists_travel_as_they_are() {
    let (fake, to) = (Fake::start(), Fake::start());
    let images = dockers_list(&fake);
    let name = fake.name("app:v1");
    let bytes = fake.tag("app", "v1").unwrap();
    let world = World::new();
    let registries = world.registries("");
    for (platform, digest) in &images {
        let other = World::new();
        let options = PullOptions { platform: Some(platform.parse().unwrap()), ..PullOptions::default() };
        let pulled = pull(&other.store, &registries, &name, &options, &other.control).unwrap();
        assert_eq!((pulled.manifest.to_string(), pulled.layers_fetched), (digest.clone(), 1), "{platform}");
        let options = CopyOptions { platform: options.platform, ..CopyOptions::default() };
        let copied = copy(&registries, &name, &to.name("one:v1"), &options, &world.control).unwrap();
        assert_eq!(copied.digest.to_string(), *digest, "{platform}");
    }
    let remote = read_manifest(&registries, &name, &Limits::default(), &world.control).unwrap();
    assert!(remote.media_type.contains("manifest.list.v2") && remote.bytes == bytes);
    copy(&registries, &name, &to.name("app:copied"), &CopyOptions::default(), &world.control).unwrap();
    let all = PullOptions { all_platforms: true, ..PullOptions::default() };
    pull(&world.store, &registries, &name, &all, &world.control).unwrap();
    push_to(&world, &name, &to.name("app:pushed")).unwrap();
    for tag in ["copied", "pushed"] {
        assert_eq!(to.tag("app", tag).as_ref(), Some(&bytes), "{tag}");
    }
}

/// Where an upload goes on, where a mount becomes one, and where the list of referrers is.
#[test]
fn no_credential_follows_where_a_registry_sends_an_upload_or_a_list_of_referrers() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let world = World::with_image(&name, 2 << 20);
    let registries =
        world.registries("").with_patience(Duration::from_millis(500), 3, Duration::from_millis(10));
    fake.with(|state| state.door = Door::Basic(BASIC.into()));
    login(&registries, &fake.name(""), &Credential::basic("user", "secret"), &world.control).unwrap();
    let push_as = |from: &str, to: &str| {
        push(&world.store, &registries, from, to, &PushOptions::default(), &world.control)
    };
    push_as(&name, &name).unwrap();
    // A manifest about the image, for which a list of referrers is kept.
    let image = Image::open(&world.store, &name, None).unwrap();
    let blob = world.store.put_blob(b"signature").unwrap();
    let empty = descriptor("application/vnd.oci.empty.v1+json", &world.store.put_blob(b"{}").unwrap());
    let options = ManifestOptions {
        subject: Some(image.descriptor().clone()),
        artifact_type: Some("application/x.signature".into()),
        ..ManifestOptions::default()
    };
    let bytes = new_manifest(&empty, &[descriptor("text/plain", &blob)], &options).unwrap();
    let about = descriptor(MANIFEST, &world.store.put_blob(&bytes).unwrap());
    world.store.tag(&Reference::parse("signature:v1").unwrap(), &about).unwrap();
    let fallback = format!("sha256-{}", image.digest().hex());

    let other = Fake::start();
    let places = [
        format!("http://127.0.0.1:{}", other.port),
        format!("http://localhost:{}", other.port),
        format!("http://[::ffff:127.0.0.1]:{}", other.port),
        "http://169.254.169.254".to_string(),
    ];
    type Lie = Box<dyn Fn(&Seen, &str) -> Option<Act> + Send + Sync>;
    for place in places {
        let sends = |method: &'static str, part: &'static str, answer: Answer| -> Lie {
            Box::new(move |seen: &Seen, place: &str| {
                let to = format!("{place}/v2/app/blobs/uploads/u1");
                seen.is(method, part).then(|| Act::Say(answer.clone().with("location", to)))
            })
        };
        let to_list = fallback.clone();
        let list: Lie = Box::new(move |seen: &Seen, place: &str| {
            let to = format!("{place}{}", seen.target);
            seen.target.contains(&to_list).then(|| Act::Say(Answer::new(307).with("location", to)))
        });
        let asks: Lie = Box::new(|seen: &Seen, place: &str| match seen.method.as_str() {
            "PATCH" => Some(Act::CutRequest(1 << 20)),
            "GET" if seen.target.contains("/uploads/") => {
                let to = format!("{place}/v2/app/blobs/uploads/u1");
                Some(Act::Say(Answer::new(204).with("location", to).with("range", "0-1048575")))
            }
            _ => None,
        });
        let cases: Vec<(&str, &str, &str, Lie)> = vec![
            (
                "PATCH",
                name.as_str(),
                "app:v1",
                sends("PATCH", "/uploads/", Answer::new(202).with("range", "0-1048575")),
            ),
            ("GET", name.as_str(), "app:v1", asks),
            ("mount", name.as_str(), "copy:v1", sends("POST", "mount=", Answer::new(202))),
            ("mount that is done", name.as_str(), "copy:v1", sends("POST", "mount=", Answer::new(201))),
            ("referrers", "signature:v1", "app:signature", list),
        ];
        for (what, from, target, lie) in cases {
            if from == name {
                fake.with(|state| {
                    state.blobs.retain(|(repository, _), _| repository == "app" && target != "app:v1");
                    state.manifests.clear();
                });
            }
            let to = place.clone();
            fake.rule(move |seen| lie(seen, &to));
            other.rule(|_| None);
            // Whether it succeeds is for the other one to decide.
            let _ = push_as(from, &fake.name(target));
            assert_eq!(other.credentials_seen(), 0, "{what} {place}");
            if place.starts_with("http://127.0.0.1:") && what != "mount that is done" {
                assert!(!other.log().is_empty(), "{what} {place}: nothing was sent there");
            }
            fake.rule(|_| None);
            push_as(&name, &name).unwrap();
        }
    }
}
