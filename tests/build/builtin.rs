//! Arguments that change the build itself, annotations, and what a build warns of.

use serde_json::Value;
use treering::image::Platform;

use super::*;

/// Builds, and gives the warnings: rule and message.
fn warned(place: &Place, options: &BuildOptions) -> (Result<Built, Error>, Vec<(String, String)>) {
    let (events, seen) = observed();
    let built = build(&place.store, options, &Control { events, ..Control::default() });
    let seen = seen.lock().unwrap();
    let warnings = seen.iter().filter_map(|event| match event {
        Event::Warning { rule, message, .. } => Some((rule.clone(), message.clone())),
        _ => None,
    });
    (built, warnings.collect())
}

fn with_args(place: &Place, text: &str, args: &[(&str, &str)]) -> BuildOptions {
    let build_args = args.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    BuildOptions { build_args, ..place.options(text) }
}

/// Returns the document that the name of the image stands for, and the entry for it.
fn named(place: &Place) -> (Value, Value) {
    let text = std::fs::read(place.store.layout().join("index.json")).unwrap();
    let index: Value = serde_json::from_slice(&text).unwrap();
    let named = |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"].is_string();
    let entry = index["manifests"].as_array().unwrap().iter().find(named).unwrap().clone();
    (document(place, &entry), entry)
}

fn document(place: &Place, entry: &Value) -> Value {
    let hex = entry["digest"].as_str().unwrap().trim_start_matches("sha256:");
    serde_json::from_slice(&std::fs::read(place.store.layout().join("blobs/sha256").join(hex)).unwrap())
        .unwrap()
}

#[test]
fn an_argument_asks_for_an_inline_cache_and_another_for_an_index() {
    let place = Place::new();
    place.write("a", "1");
    let text = "FROM scratch\nCOPY a /a\n";
    let annotations = || place.image().annotations().map(|(key, _)| key.to_string()).collect::<Vec<_>>();
    place.build(text);
    assert!(annotations().is_empty());
    for (value, on) in [("1", true), ("true", true), ("0", false)] {
        build(
            &place.store,
            &with_args(&place, text, &[("BUILDKIT_INLINE_CACHE", value)]),
            &Control::default(),
        )
        .unwrap();
        assert_eq!(!annotations().is_empty(), on, "{value}: {:?}", annotations());
    }
    let (built, warnings) = warned(&place, &with_args(&place, text, &[("BUILDKIT_MULTI_PLATFORM", "1")]));
    assert!(warnings.is_empty(), "{warnings:?}");
    let (index, _) = named(&place);
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1, "{index}");
    assert_eq!(place.image().id(), &built.unwrap().image_id);
}

#[test]
fn another_language_or_a_newer_one_is_warned_of() {
    let place = Place::new();
    let text = "# syntax=docker/dockerfile:1.99\nFROM scratch\nENV A=b\n";
    let (built, warnings) = warned(&place, &place.options(text));
    built.unwrap();
    assert!(warnings.len() == 1 && warnings[0].1.contains("dockerfile:1.99"), "{warnings:?}");
    // The argument stands before the directive.
    let options = with_args(&place, text, &[("BUILDKIT_SYNTAX", "docker/dockerfile:1")]);
    assert!(warned(&place, &options).1.is_empty());
    let options = with_args(&place, "FROM scratch\nENV A=b\n", &[("BUILDKIT_SYNTAX", "example.org/other")]);
    let (built, warnings) = warned(&place, &options);
    built.unwrap();
    assert!(warnings.len() == 1 && warnings[0].1.contains("example.org/other"), "{warnings:?}");
    let options = with_args(&place, "FROM scratch\nENV A=b\n", &[("BUILDKIT_BUILD_NAME", "x")]);
    assert!(warned(&place, &options).1[0].1.contains("BUILDKIT_BUILD_NAME"));
}

#[test]
fn annotations_go_to_the_documents_that_they_name() {
    let place = Place::new();
    let text = "FROM scratch\nENV A=b\n";
    let pairs = |texts: &[&str]| texts.iter().map(|key| (key.to_string(), "v".to_string())).collect();
    let platforms: Vec<Platform> =
        ["linux/amd64", "linux/arm64"].map(|text| text.parse::<Platform>().unwrap()).to_vec();
    let options = BuildOptions {
        platforms,
        annotations: pairs(&[
            "plain",
            "manifest:m",
            "index:i",
            "index,manifest:both",
            "manifest[linux/arm64]:arm",
            "manifest-descriptor:md",
            "index-descriptor:id",
        ]),
        ..place.options(text)
    };
    build(&place.store, &options, &Control::default()).unwrap();
    let keys = |value: &Value| -> Vec<String> {
        let mut keys: Vec<String> =
            value["annotations"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
        keys.retain(|key| {
            !key.starts_with("org.opencontainers.image.ref") && !key.starts_with("io.containerd")
        });
        keys.sort();
        keys
    };
    let (index, entry) = named(&place);
    assert_eq!(keys(&index), ["both", "i"]);
    assert_eq!(keys(&entry), ["id"]);
    let manifests = index["manifests"].as_array().unwrap();
    assert_eq!(manifests.iter().map(keys).collect::<Vec<_>>(), [["md"], ["md"]]);
    assert_eq!(keys(&document(&place, &manifests[0])), ["both", "m", "plain"]);
    assert_eq!(keys(&document(&place, &manifests[1])), ["arm", "both", "m", "plain"]);
    // Without an index there is one document, and its entry.
    let options =
        BuildOptions { annotations: pairs(&["manifest-descriptor:md", "m"]), ..place.options(text) };
    build(&place.store, &options, &Control::default()).unwrap();
    let (manifest, entry) = named(&place);
    assert_eq!((keys(&manifest), keys(&entry)), (vec!["m".to_string()], vec!["md".to_string()]));
    for wrong in ["index:k", "other:k", "manifest[linux:k"] {
        let options = BuildOptions { annotations: pairs(&[wrong]), ..place.options(text) };
        let error = build(&place.store, &options, &Control::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{wrong}");
    }
}

/// The rule holds for images that are in the store, before anything is built, and is skipped and made an error as all rules are.
#[test]
fn a_base_for_another_platform_is_a_finding_as_others_are() {
    let place = Place::new();
    let foreign = if cfg!(target_arch = "x86_64") { "linux/s390x" } else { "linux/386" };
    let options = BuildOptions {
        platforms: vec![foreign.parse().unwrap()],
        tags: vec!["base".into()],
        ..place.options("FROM scratch\nENV A=b\n")
    };
    build(&place.store, &options, &Control::default()).unwrap();
    let rule = "InvalidBaseImagePlatform";
    let control = Control::default();
    let text = "ARG B=base\nFROM scratch AS base2\nFROM $B AS x\nENV C=d\n";
    let (built, warnings) = warned(&place, &place.options(text));
    let built = built.unwrap();
    assert_eq!(built.warnings.iter().map(|it| (it.rule, it.location.line)).collect::<Vec<_>>(), [(rule, 3)]);
    assert_eq!(warnings.iter().filter(|(name, _)| name == rule).count(), 1, "{warnings:?}");
    let (found, _) = check(&place.store, &place.options(text), &control).unwrap();
    assert_eq!(found, built.warnings);
    let (built, warnings) = warned(&place, &place.options(&format!("# check=skip={rule}\n{text}")));
    assert!(built.unwrap().warnings.is_empty() && warnings.is_empty(), "{warnings:?}");
    let error = warned(&place, &place.options(&format!("# check=error=true\n{text}"))).0.unwrap_err();
    assert_eq!((error.kind(), error.location().unwrap().line), (ErrorKind::Syntax, 4));
    // What is built for that platform is right.
    let options = BuildOptions { platforms: vec![foreign.parse().unwrap()], ..place.options(text) };
    assert!(warned(&place, &options).0.unwrap().warnings.is_empty());
}

#[test]
fn the_store_is_no_part_of_a_context_that_it_stands_in() {
    let place = Place::new();
    place.write("a", "1");
    let store = Store::open(place.context.join(".treering")).unwrap();
    let options = place.options("FROM scratch\nCOPY . /all/\nCOPY .t* /hidden/\n");
    let first = build(&store, &options, &Control::default()).unwrap();
    let list = contents(&store, &Image::open(&store, "t", None).unwrap(), &Control::default()).unwrap();
    let paths: Vec<String> =
        list.walk().map(|entry| String::from_utf8_lossy(&list.path(entry)).into_owned()).collect();
    assert_eq!(paths, ["all", "all/a"]);
    // What the first build wrote there changes nothing.
    let second = build(&store, &options, &Control::default()).unwrap();
    assert_eq!((second.carried_out, second.image_id), (0, first.image_id));
}
