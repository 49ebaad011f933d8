//! Registries that lie, and that ask for what is not theirs.

use std::time::Duration;

use serde_json::{Value, json};
use treering::compress::DecodeLimits;
use treering::image::Image;
use treering::registry::{
    CopyOptions, Credential, PullOptions, Pulled, PushOptions, copy, login, pull, push,
};
use treering::store::FsckLevel;
use treering::{Digest, Error, ErrorKind};

use crate::debian::certificates;
use crate::fake::{Act, Answer, Door, Fake, Seen};
use crate::world::World;
use support::sh;
use support::tools::need;

const BASIC: &str = "Basic dXNlcjpzZWNyZXQ=";

fn pull_from(world: &World, name: &str) -> Result<Pulled, Error> {
    pull(&world.store, &world.registries(""), name, &PullOptions::default(), &world.control)
}

/// Returns a registry that asks for a password, which the world has, and holds an image.
fn guarded(path: &str) -> (Fake, World, String) {
    let fake = Fake::start();
    let name = fake.name(path);
    let world = World::with_image(&name, 2 << 20);
    let registries = world.registries("");
    fake.with(|state| state.door = Door::Basic(BASIC.into()));
    login(&registries, &fake.name(""), &Credential::basic("user", "secret"), &world.control).unwrap();
    push(&world.store, &registries, &name, &name, &PushOptions::default(), &world.control).unwrap();
    (fake, world, name)
}

/// Returns a world without images that has the same password.
fn reader(fake: &Fake) -> World {
    let world = World::new();
    let registries = world.registries("");
    login(&registries, &fake.name(""), &Credential::basic("user", "secret"), &world.control).unwrap();
    world
}

/// Addresses of another origin: another port, another host, a name that leads here, the metadata service of clouds.
fn elsewhere(other: &Fake) -> Vec<String> {
    vec![
        format!("http://127.0.0.1:{}", other.port),
        format!("http://localhost:{}", other.port),
        format!("http://[::ffff:127.0.0.1]:{}", other.port),
        "http://169.254.169.254".to_string(),
    ]
}

#[test]
fn no_credential_reaches_another_origin() {
    let (fake, world, name) = guarded("app:v1");
    let other = Fake::start();
    // The other one answers like the first, so that following leads somewhere.
    let (blobs, manifests) = fake.with(|state| (state.blobs.clone(), state.manifests.clone()));
    other.with(|state| (state.blobs, state.manifests) = (blobs, manifests));
    let patient = |world: &World| {
        world.registries("").with_patience(Duration::from_millis(500), 1, Duration::from_millis(10))
    };
    for place in elsewhere(&other) {
        type Lie = Box<dyn Fn(&Seen, &str) -> Option<Act> + Send + Sync>;
        let redirect = |status: u16, part: &'static str| -> Lie {
            Box::new(move |seen: &Seen, place: &str| {
                let to = format!("{place}{}", seen.target);
                (seen.method == "GET" && seen.target.contains(part))
                    .then(|| Act::Say(Answer::new(status).with("location", to)))
            })
        };
        let realm = |scheme: &'static str| -> Lie {
            Box::new(move |_: &Seen, place: &str| {
                let challenge = format!("{scheme} realm=\"{place}/token\",service=\"x\"");
                Some(Act::Say(Answer::error(401, "UNAUTHORIZED").with("www-authenticate", challenge)))
            })
        };
        let lies: Vec<(&str, Lie)> = vec![
            ("blob redirect", redirect(307, "/blobs/")),
            ("manifest redirect", redirect(302, "/manifests/")),
            ("permanent redirect", redirect(308, "/blobs/")),
            ("realm", realm("Bearer")),
        ];
        for (what, lie) in lies {
            let reader = reader_with(&fake);
            let to = place.clone();
            fake.rule(move |seen| if seen.target == "/v2/" { None } else { lie(seen, &to) });
            other.rule(|_| None);
            let result =
                pull(&reader.store, &patient(&reader), &name, &PullOptions::default(), &reader.control);
            if what == "realm" {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::Unauthorized, "{what} {place}");
                assert!(other.log().is_empty(), "{what} {place}");
            }
            assert_eq!(other.credentials_seen(), 0, "{what} {place}");
            fake.rule(|_| None);
        }
        // Where an upload begins, and what a list of tags links to.
        fake.with(|state| {
            state.blobs.clear();
            state.manifests.clear();
        });
        let to = place.clone();
        fake.rule(move |seen| {
            let location = format!("{to}/v2/app/blobs/uploads/u1");
            seen.is("POST", "/uploads/").then(|| Act::Say(Answer::new(202).with("location", location)))
        });
        other.rule(|_| None);
        let _ = push(&world.store, &patient(&world), &name, &name, &PushOptions::default(), &world.control);
        assert_eq!(other.credentials_seen(), 0, "upload {place}");
        let to = place.clone();
        fake.rule(move |seen| {
            let link = format!("<{to}/v2/app/tags/list?last=a>; rel=\"next\"");
            seen.target
                .contains("/tags/")
                .then(|| Act::Say(Answer::new(200).with("link", link).body("{\"tags\":[\"a\"]}")))
        });
        other.rule(|_| None);
        let _ = treering::registry::tags(&patient(&world), &fake.name("app"), &world.control);
        assert_eq!(other.credentials_seen(), 0, "link {place}");
        fake.rule(|_| None);
        push(&world.store, &patient(&world), &name, &name, &PushOptions::default(), &world.control).unwrap();
    }
}

fn reader_with(fake: &Fake) -> World {
    fake.rule(|_| None);
    reader(fake)
}

#[test]
fn a_redirect_is_followed_without_credentials_and_not_for_ever() {
    let (fake, _, name) = guarded("app:v1");
    let other = Fake::start();
    let blobs = fake.with(|state| state.blobs.clone());
    other.with(|state| state.blobs = blobs);
    let reader = reader(&fake);
    let to = other.url("");
    fake.rule(move |seen| {
        let to = format!("{to}{}", seen.target);
        seen.is("GET", "/blobs/").then(|| Act::Say(Answer::new(307).with("location", to)))
    });
    pull_from(&reader, &name).unwrap();
    assert!(other.log().len() >= 3 && other.credentials_seen() == 0);

    fake.rule(|seen| {
        seen.is("GET", "/manifests/")
            .then(|| Act::Say(Answer::new(307).with("location", seen.target.clone())))
    });
    let error = pull_from(&reader, &name).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    assert_eq!(fake.log().iter().filter(|seen| seen.target.contains("/manifests/")).count(), 1 + 5);
}

#[test]
fn https_never_becomes_http() {
    if !need("openssl", &["version"]) {
        return;
    }
    let world = World::new();
    certificates(world.scratch.path());
    let read = |name: &str| std::fs::read_to_string(world.scratch.join(name)).unwrap();
    let fake = Fake::start_with(Some((&read("server.pem"), &read("server.key"))));
    let plain = Fake::start();
    let host = fake.name("");
    let config = format!(
        "[[registry]]\nprefix = '{}'\nca = '{}'\n",
        host.trim_end_matches('/'),
        world.scratch.join("ca.pem").display()
    );
    let registries = world.registries(&config);
    let name = fake.name("app:v1");
    world.grow(&name, 1000);
    fake.with(|state| state.door = Door::Basic(BASIC.into()));
    login(&registries, &host, &Credential::basic("user", "secret"), &world.control).unwrap();
    push(&world.store, &registries, &name, &name, &PushOptions::default(), &world.control).unwrap();
    assert!(fake.credentials_seen() > 0);

    let reader = World::new();
    let to = plain.url("");
    fake.rule(move |seen| {
        let to = format!("{to}{}", seen.target);
        seen.is("GET", "/blobs/").then(|| Act::Say(Answer::new(307).with("location", to)))
    });
    std::fs::copy(world.scratch.join("auth.json"), reader.scratch.join("auth.json")).unwrap();
    let registries_of_reader = reader.registries(&config);
    let error = pull(&reader.store, &registries_of_reader, &name, &PullOptions::default(), &reader.control)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");

    let to = plain.url("/upload");
    fake.with(|state| state.manifests.clear());
    fake.rule(move |seen| {
        seen.is("POST", "/uploads/").then(|| Act::Say(Answer::new(202).with("location", to.clone())))
    });
    fake.with(|state| state.blobs.clear());
    let error =
        push(&world.store, &registries, &name, &name, &PushOptions::default(), &world.control).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");

    let challenge = format!("Bearer realm=\"{}\",service=\"x\"", plain.url("/token"));
    fake.rule(move |_| {
        Some(Act::Say(Answer::error(401, "UNAUTHORIZED").with("www-authenticate", challenge.clone())))
    });
    let error =
        push(&world.store, &registries, &name, &name, &PushOptions::default(), &world.control).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    assert!(plain.log().is_empty());
}

#[test]
fn tls_errors_name_the_host_and_the_reason() {
    if !need("openssl", &["version"]) {
        return;
    }
    let world = World::new();
    // A certificate authority, and certificates of it: for this machine, for another host, and an expired one.
    sh(
        world.scratch.path(),
        "q() { openssl \"$@\" 2>/dev/null; }
         q req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem -days 30 -subj /CN=test
         for one in 'good IP:127.0.0.1 20' 'other DNS:registry.example 20' 'old IP:127.0.0.1 -1'; do
           set -- $one
           q req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout $1.key -out $1.csr -subj /CN=$1
           printf 'subjectAltName=%s' $2 >ext
           case $3 in
             -1) touch index; echo 01 >serial
                 printf '[ca]\ndefault_ca=a\n[a]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n[p]\nCN=supplied\n' >conf
                 q ca -batch -config conf -cert ca.pem -keyfile ca.key -in $1.csr -out $1.pem -extfile ext -startdate 20200101000000Z -enddate 20200102000000Z -notext ;;
             *) q x509 -req -in $1.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days $3 -extfile ext -out $1.pem ;;
           esac
         done
         q req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout self.key -out self.pem -days 30 -subj /CN=self -addext subjectAltName=IP:127.0.0.1",
    );
    let read = |name: &str| std::fs::read_to_string(world.scratch.join(name)).unwrap();
    let start = |name: &str| {
        let (chain, key) = (read(&format!("{name}.pem")), read(&format!("{name}.key")));
        Fake::start_with(Some((&chain, &key)))
    };
    let ca = world.scratch.join("ca.pem");
    let ca_hint = "ca = FILE in registries.toml names a certificate authority to trust";
    for (certificate, trusted, reason, hint) in [
        ("good", false, "by an authority that is not trusted", ca_hint),
        ("other", true, "for another name: registry.example", "use a name that the certificate is for"),
        ("old", true, "has expired: 2020-01-02", "clock"),
        ("self", true, "signed by itself", "have one made for the server"),
    ] {
        let fake = start(certificate);
        let host = format!("127.0.0.1:{}", fake.port);
        world.file("auth.json", &json!({ "auths": { &host: { "auth": "dXNlcjpzZWNyZXQ=" } } }).to_string());
        let trust = if trusted { format!("ca = '{}'\n", ca.display()) } else { String::new() };
        let registries = world.registries(&format!("[[registry]]\nprefix = '{host}'\n{trust}"));
        let error =
            pull(&world.store, &registries, &fake.name("app:v1"), &PullOptions::default(), &world.control)
                .unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Network, "{text}");
        assert!(
            text.contains(&host) && text.contains("TLS: ") && text.contains(reason),
            "{certificate}: {text}"
        );
        assert!(error.hint().unwrap().to_string().contains(hint), "{text}");
        // Whether TLS is spoken is asked without a certificate being believed, and without anything that is secret.
        let asked = |seen: &Seen| {
            seen.method == "GET" && seen.target == "/v2/" && seen.header("authorization").is_empty()
        };
        assert!(fake.log().iter().all(asked), "{:?}", fake.log());
    }
    // The same certificate authority and a certificate that is good: the registry is reached.
    let fake = start("good");
    let config = format!("[[registry]]\nprefix = '127.0.0.1:{}'\nca = '{}'\n", fake.port, ca.display());
    let name = fake.name("app:v1");
    let error =
        pull(&world.store, &world.registries(&config), &name, &PullOptions::default(), &world.control)
            .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    // Servers that speak another protocol, of which some wait for the client to begin.
    for greeting in ["HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-x\r\n"] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = std::io::Read::read(&mut stream, &mut [0; 16]);
            let _ = std::io::Write::write_all(&mut stream, greeting.as_bytes());
            let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
        });
        let place = format!("127.0.0.1:{port}");
        let config = format!("[[registry]]\nprefix = '{place}'\nlocation = 'https://{place}'\n");
        let name = format!("{place}/app:v1");
        let error =
            pull(&world.store, &world.registries(&config), &name, &PullOptions::default(), &world.control)
                .unwrap_err();
        assert!(error.to_string().contains(&place), "{error}");
        assert!(error.message().contains("the server does not speak TLS"), "{greeting}: {error}");
        let hint = error.hint().unwrap().to_string();
        assert!(hint.contains("insecure = true") && hint.contains("http://"), "{hint}");
        server.join().unwrap();
    }
}

#[test]
fn what_is_not_what_was_promised_is_refused() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let origin = World::with_image(&name, 1 << 20);
    push(&origin.store, &origin.registries(""), &name, &name, &PushOptions::default(), &origin.control)
        .unwrap();
    let image = Image::open(&origin.store, &name, None).unwrap();
    let (layer, config) = (image.layers()[0].digest.to_string(), image.id().to_string());
    let flip: fn(Answer) -> Answer = |mut answer| {
        let middle = answer.body.len() / 2;
        answer.body[middle] ^= 1;
        answer
    };
    let shorter: fn(Answer) -> Answer = |mut answer| {
        answer.body.pop();
        answer
    };
    let longer: fn(Answer) -> Answer = |mut answer| {
        answer.body.push(b' ');
        answer
    };
    let said: fn(Answer) -> Answer =
        |answer| answer.with("docker-content-digest", Digest::of(b"other").to_string());
    let typed: fn(Answer) -> Answer =
        |answer| answer.with("content-type", "application/vnd.oci.image.index.v1+json");
    let docker: fn(Answer) -> Answer =
        |answer| answer.with("content-type", "application/vnd.docker.distribution.manifest.v2+json");
    let html: fn(Answer) -> Answer = |answer| answer.body("<html>").with("content-type", "text/html");
    let schema1: fn(Answer) -> Answer = |answer| {
        answer
            .body("{\"schemaVersion\":1,\"fsLayers\":[]}")
            .with("docker-content-digest", "")
            .with("content-type", "application/vnd.docker.distribution.manifest.v1+prettyjws")
    };
    let cases: Vec<(&str, &str, Act, ErrorKind)> = vec![
        ("manifest with a flipped bit", "/manifests/", Act::Change(flip), ErrorKind::Corrupt),
        ("manifest under another digest", "/manifests/", Act::Change(said), ErrorKind::Corrupt),
        ("manifest called an index", "/manifests/", Act::Change(typed), ErrorKind::Corrupt),
        ("manifest called Docker's", "/manifests/", Act::Change(docker), ErrorKind::Corrupt),
        ("a page in place of a manifest", "/manifests/", Act::Change(html), ErrorKind::Corrupt),
        ("schema 1", "/manifests/", Act::Change(schema1), ErrorKind::Unsupported),
        ("manifest without an end", "/manifests/", Act::Endless(Answer::new(200)), ErrorKind::Limit),
        ("configuration with a flipped bit", &config, Act::Change(flip), ErrorKind::Corrupt),
        ("configuration without an end", &config, Act::Endless(Answer::new(200)), ErrorKind::Limit),
        ("layer with a flipped bit", &layer, Act::Change(flip), ErrorKind::Corrupt),
        ("layer that is shorter", &layer, Act::Change(shorter), ErrorKind::Corrupt),
        ("layer that is longer", &layer, Act::Change(longer), ErrorKind::Corrupt),
        ("layer without an end", &layer, Act::Endless(Answer::new(200)), ErrorKind::Corrupt),
    ];
    for (what, part, act, kind) in cases {
        let part = part.to_string();
        fake.rule(move |seen| (seen.method == "GET" && seen.target.contains(&part)).then(|| act.clone()));
        let world = World::new();
        let error = pull_from(&world, &name).expect_err(what);
        assert_eq!(error.kind(), kind, "{what}: {error}");
        assert!(world.store.entries().unwrap().is_empty(), "{what}");
        assert!(world.store.fsck(FsckLevel::Bytes, &world.control).unwrap().problems.is_empty(), "{what}");
        // From registry to registry it is the source's error. A blob has an end there, where its size is reached.
        let kind = if what == "configuration without an end" { ErrorKind::Corrupt } else { kind };
        let to = Fake::start();
        let target = to.name("app:v1");
        let error = copy(&world.registries(""), &name, &target, &CopyOptions::default(), &world.control)
            .expect_err(what);
        assert_eq!(error.kind(), kind, "{what}: {error}");
        assert!(error.to_string().contains(&fake.port.to_string()), "{what}: {error}");
        assert!(!error.to_string().contains(&to.port.to_string()), "{what}: {error}");
        assert!(to.tag("app", "v1").is_none() && to.with(|state| state.blobs.len()) < 3, "{what}");
    }
    // A pinned digest is held to, whatever the registry says.
    let other = fake.manifest(
        "app",
        "other",
        "application/vnd.oci.image.index.v1+json",
        b"{\"schemaVersion\":2,\"manifests\":[]}",
    );
    let pinned = format!("{}@{}", fake.name("app"), image.digest());
    let wrong = fake.tag("app", "other").unwrap();
    fake.rule(move |seen| {
        let answer = Answer::new(200).body(wrong.clone()).with("docker-content-digest", other.clone());
        seen.target.contains("/manifests/").then_some(Act::Say(answer))
    });
    assert_eq!(pull_from(&World::new(), &pinned).unwrap_err().kind(), ErrorKind::Corrupt);
}

/// Returns an image made by hand: its configuration, manifest and one layer, put into a fake.
fn by_hand(fake: &Fake, tag: &str, layer: &[u8], media_type: &str, diff_id: &str, more: Value) -> String {
    let config = json!({
        "os": "linux", "architecture": "amd64", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
    });
    let config = serde_json::to_vec(&config).unwrap();
    let config_digest = fake.blob("app", &config);
    let mut descriptor = json!({
        "mediaType": media_type, "digest": Digest::of(layer).to_string(), "size": layer.len(),
    });
    for (name, value) in more.as_object().unwrap() {
        descriptor[name] = value.clone();
    }
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config.len() },
        "layers": [descriptor],
    });
    let manifest = serde_json::to_vec(&manifest).unwrap();
    fake.manifest("app", tag, "application/vnd.oci.image.manifest.v1+json", &manifest)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

#[test]
fn layers_that_decode_to_something_else_or_to_too_much_are_refused() {
    const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    let fake = Fake::start();
    let layer = gzip(&[0; 1024]);
    fake.blob("app", &layer);
    by_hand(&fake, "diffid", &layer, GZIP, &Digest::of(b"other").to_string(), json!({}));
    let world = World::new();
    let error = pull_from(&world, &fake.name("app:diffid")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.message().contains("DiffID"), "{error}");

    let bomb = gzip(&vec![b'a'; 64 << 20]);
    fake.blob("app", &bomb);
    by_hand(&fake, "bomb", &bomb, GZIP, &Digest::of(b"other").to_string(), json!({}));
    let decode = DecodeLimits { ratio_floor: 1 << 20, ratio: 100, ..DecodeLimits::default() };
    let options = PullOptions { decode, ..PullOptions::default() };
    let error = pull(&world.store, &world.registries(""), &fake.name("app:bomb"), &options, &world.control)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    assert!(world.store.refs().unwrap().is_empty());
}

#[test]
fn foreign_layers_come_from_their_addresses_and_are_not_sent() {
    const FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    let (fake, elsewhere) = (Fake::start(), Fake::start());
    let tar = [0; 1024];
    let layer = gzip(&tar);
    let digest = elsewhere.blob("files", &layer);
    let url = elsewhere.url(&format!("/{digest}"));
    let urls = json!({ "urls": ["ftp://nowhere/x", url] });
    by_hand(&fake, "v1", &layer, FOREIGN, &Digest::of(&tar).to_string(), urls);
    fake.with(|state| state.door = Door::Basic(BASIC.into()));
    let world = reader(&fake);
    let name = fake.name("app:v1");
    pull_from(&world, &name).unwrap();
    assert!(!elsewhere.log().is_empty() && elsewhere.credentials_seen() == 0);

    let target = fake.name("copy:v1");
    let pushed =
        push(&world.store, &world.registries(""), &name, &target, &PushOptions::default(), &world.control)
            .unwrap();
    assert_eq!(pushed.sent + pushed.mounted + pushed.present, 1, "the configuration alone");
    // A layer that may be sent is looked for at the registry only.
    let tar2 = [0; 2048];
    let plain = gzip(&tar2);
    let digest = elsewhere.blob("files", &plain);
    let urls = json!({ "urls": [elsewhere.url(&format!("/{digest}"))] });
    by_hand(
        &fake,
        "v2",
        &plain,
        "application/vnd.oci.image.layer.v1.tar+gzip",
        &Digest::of(&tar2).to_string(),
        urls,
    );
    elsewhere.rule(|_| None);
    assert_eq!(pull_from(&world, &fake.name("app:v2")).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(elsewhere.log().is_empty());
}

#[test]
fn uploads_that_the_registry_claims_otherwise_about_are_refused() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let world = World::with_image(&name, 3 << 20);
    let push =
        || push(&world.store, &world.registries(""), &name, &name, &PushOptions::default(), &world.control);
    let other: fn(Answer) -> Answer =
        |answer| answer.with("docker-content-digest", Digest::of(b"other").to_string());
    let beyond: fn(Answer) -> Answer = |answer| answer.with("range", "0-99999999999");
    let nothing: fn(Answer) -> Answer = |answer| answer.with("range", "0-0");
    let lost: fn(Answer) -> Answer = |mut answer| {
        answer.headers.retain(|(name, _)| name != "location");
        answer
    };
    for (what, method, part, change) in [
        ("blob stored under another digest", "PUT", "/uploads/", other),
        ("manifest stored under another digest", "PUT", "/manifests/", other),
        ("more than was sent", "PATCH", "/uploads/", beyond),
        ("nothing kept", "PATCH", "/uploads/", nothing),
        ("no place to go on", "POST", "/uploads/", lost),
    ] {
        fake.with(|state| {
            state.blobs.clear();
            state.manifests.clear();
        });
        fake.rule(move |seen| seen.is(method, part).then_some(Act::Change(change)));
        assert_eq!(push().expect_err(what).kind(), ErrorKind::Corrupt, "{what}");
    }
    fake.with(|state| state.min_chunk = 10 << 30);
    fake.rule(|_| None);
    assert_eq!(push().unwrap_err().kind(), ErrorKind::Limit);
}

/// The source is asked again for what the target has not got, and may lie then.
#[test]
fn what_a_copy_reads_twice_is_hashed_as_it_is_sent() {
    let (from, to) = (Fake::start(), Fake::start());
    let name = from.name("app:v1");
    let world = World::with_image(&name, 3 << 20);
    let registries = world.registries("");
    push(&world.store, &registries, &name, &name, &PushOptions::default(), &world.control).unwrap();
    let target = to.name("app:v1");
    let copied = || copy(&registries, &name, &target, &CopyOptions::default(), &world.control);
    // The target gets less than was read of the source, again and again.
    let begins = |seen: &Seen| seen.header("content-range").split('-').next()?.parse::<u64>().ok();
    to.rule(move |seen| (begins(seen)? < 2_500_000).then_some(Act::CutRequest(800_000)));
    copied().unwrap();
    assert_eq!(to.tag("app", "v1"), from.tag("app", "v1"));
    assert_eq!(to.with(|state| state.open_uploads()), 0);
    let starts: Vec<u64> = to.log().iter().filter(|seen| seen.method == "PATCH").filter_map(begins).collect();
    assert_eq!(starts, [0, 800_000, 1_600_000, 2_400_000, 3_200_000][..starts.len()]);
    assert!(starts.len() >= 4);
    let again: Vec<String> = from.log().iter().map(|seen| seen.header("range").to_string()).collect();
    assert!(again.iter().any(|range| !range.is_empty()), "{again:?}");

    let flip: fn(Answer) -> Answer = |mut answer| {
        answer.body[7] ^= 1;
        answer
    };
    to.with(|state| {
        state.blobs.clear();
        state.manifests.clear();
    });
    from.rule(move |seen| (!seen.header("range").is_empty()).then_some(Act::Change(flip)));
    let error = copied().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(&from.name("app@sha256:")), "{error}");
    assert!(to.tag("app", "v1").is_none());
}

#[test]
fn a_copy_keeps_every_byte_and_no_credential_crosses() {
    let (from, _, name) = guarded("app:v1");
    let to = Fake::start();
    let world = reader(&from);
    let target = to.name("team/app:v2");
    let registries = world.registries("");
    let copied = copy(&registries, &name, &target, &CopyOptions::default(), &world.control).unwrap();
    assert_eq!((copied.sent, copied.mounted), (3, 0));
    assert_eq!(to.tag("team/app", "v2"), from.tag("app", "v1"));
    assert_eq!(to.credentials_seen(), 0);
    // Within one registry blobs are mounted, and what is there stays.
    let within = from.name("other/app:v1");
    let copied = copy(&registries, &name, &within, &CopyOptions::default(), &world.control).unwrap();
    assert_eq!((copied.sent, copied.mounted), (0, 3));
    let again = copy(&registries, &name, &within, &CopyOptions::default(), &world.control).unwrap();
    assert_eq!((again.sent, again.mounted, again.present), (0, 0, 3));
    // Cut while it is read, and while it is written.
    to.with(|state| {
        state.blobs.clear();
        state.manifests.clear();
    });
    from.rule(|seen| {
        (seen.is("GET", "/blobs/") && seen.header("range").is_empty()).then_some(Act::Cut(1 << 20))
    });
    copy(&registries, &name, &target, &CopyOptions::default(), &world.control).unwrap();
    assert_eq!(to.tag("team/app", "v2"), from.tag("app", "v1"));
}
