//! Looks at a Dockerfile: what a target takes, and what is said before an error.

use std::process::Command;

use serde_json::Value;
use treering::build::{Outline, outline};

use super::*;

fn outlined(place: &Place, text: &str, target: &str, args: &[(&str, &str)]) -> Outline {
    let options = BuildOptions {
        target: Some(target.into()),
        build_args: args.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        ..place.options(text)
    };
    outline(&place.store, &options, &Control::default()).unwrap()
}

fn args_of(found: &Outline) -> Vec<(&str, &str, Option<&str>, u32)> {
    let one = |a: &'_ treering::build::OutlineArg| a.location.line;
    found.args.iter().map(|a| (a.name.as_str(), a.description.as_str(), a.value.as_deref(), one(a))).collect()
}

const ARGS: &str = "\
ARG box=a
ARG other=b
ARG unused=c${other}
# end says how it ends
ARG end=\"n${box}\"

FROM b${end} AS first
# nothing says what this is
ARG FOO=1$PATH
# text
# BAR is a number
ARG BAR=2

FROM alpine${unused} AS second
ARG BAZ

FROM scratch AS third
ARG ABC=a
ARG TARGETARCH
ENV E=e

# target is built
FROM third AS target
ARG XYZ=$E$ABC
ARG end
COPY --from=first /etc/passwd /

FROM second
";

#[test]
fn an_outline_has_the_arguments_that_the_target_uses_with_their_values() {
    let place = Place::new();
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let found = outlined(&place, ARGS, "target", &[("BAR", "3")]);
    assert_eq!((found.name.as_str(), found.description.as_str()), ("target", "is built"));
    assert_eq!(
        args_of(&found),
        [
            ("box", "", Some("a"), 1),
            ("end", "says how it ends", Some("na"), 5),
            ("FOO", "", Some(format!("1{path}").as_str()), 9),
            ("BAR", "is a number", Some("3"), 12),
            ("ABC", "", Some("a"), 18),
            ("XYZ", "", Some("ea"), 24),
        ]
    );
    assert_eq!(found.args[1].location.text, "ARG end=\"n${box}\"");
    // A value that is given is made of no other, and an ARG of a stage that gets one is its own.
    let found = outlined(&place, ARGS, "target", &[("end", "x")]);
    let names: Vec<_> = found.args.iter().map(|a| (a.name.as_str(), a.location.line)).collect();
    assert_eq!(names, [("FOO", 9), ("BAR", 12), ("ABC", 18), ("XYZ", 24), ("end", 25)]);
    let found = outlined(&place, ARGS, "second", &[]);
    assert_eq!(
        args_of(&found),
        [("other", "", Some("b"), 2), ("unused", "", Some("cb"), 3), ("BAZ", "", None, 15)]
    );
}

const MOUNTS: &str = "\
FROM scratch AS first
RUN --mount=type=secret,target=/etc/passwd,required=true --mount=type=ssh true

FROM scratch AS second
RUN --mount=type=secret,id=unused --mount=type=ssh,id=ssh2 true

FROM scratch AS third
ARG BAR
RUN --mount=type=secret,id=second${BAR} true

FROM third AS target
COPY --from=first /foo /
RUN --mount=type=ssh,id=ssh3,required true
RUN --mount=type=ssh,required --mount=type=secret,id=${BAR}$PATH,env=X true
";

#[test]
fn an_outline_has_the_mounts_with_their_ids_and_whether_they_are_required() {
    let place = Place::new();
    let found = outlined(&place, MOUNTS, "target", &[("BAR", "4")]);
    let of = |list: &[treering::build::OutlineMount]| -> Vec<(String, bool, u32)> {
        list.iter().map(|mount| (mount.id.clone(), mount.required, mount.location.line)).collect()
    };
    let path = "4/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_string();
    assert_eq!(
        of(&found.secrets),
        [("passwd".into(), true, 2), ("second4".into(), false, 9), (path, false, 14)]
    );
    assert_eq!(of(&found.ssh), [("default".into(), true, 2), ("ssh3".into(), true, 13)]);
}

fn treering(place: &Place, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_treering"));
    command.arg("build").args(arguments).current_dir(&place.context);
    let output = command.env("TREERING_ROOT", place.scratch.join("store")).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_call_may_ask_for_json() {
    let place = Place::new();
    place.write("Dockerfile", "FROM scratch AS One\nARG a=1\nRUN --mount=type=secret,id=s,required x\n");
    for (call, like) in
        [("check", "check"), ("lint", "check"), ("outline", "outline"), ("targets", "targets")]
    {
        let (_, printed, said) = treering(&place, &["--call", &format!("{call},format=json"), "."]);
        let value: Value =
            serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{call}: {printed} {said}"));
        let (_, same, _) = treering(&place, &["--json", "--call", like, "."]);
        assert_eq!(value, serde_json::from_str::<Value>(&same).unwrap(), "{call}");
    }
    assert_eq!(treering(&place, &["--call=check,format=text", "."]).0, Some(1));
    assert_eq!(treering(&place, &["--call=check,ignorestatus=true", "."]).0, Some(0));
    let (_, printed, _) = treering(&place, &["--call=outline", "."]);
    assert!(printed.contains("BUILD ARG: a=1") && printed.contains("SECRET: s  required"), "{printed}");
    for refused in ["what", "check,format=xml", "check,outline", "check,colour=red", "format=json"] {
        let (code, _, said) = treering(&place, &["--call", refused, "."]);
        assert!(code == Some(2) && said.contains("--call"), "{refused}: {code:?} {said}");
    }
}

#[test]
fn what_stands_before_an_error_is_checked_all_the_same() {
    let place = Place::new();
    let text = "FROM scratch as Base\nMAINTAINER me\nCPOY a b\nMAINTAINER you\n";
    place.write("Dockerfile", text);
    let warned = |check: bool, checks: &str| {
        let (events, seen) = observed();
        let control = Control { events, ..Control::default() };
        let options = place.options(&format!("# check={checks}\n{text}"));
        let error = match check {
            true => treering::build::check(&place.store, &options, &control).map(drop).unwrap_err(),
            false => build(&place.store, &options, &control).map(drop).unwrap_err(),
        };
        assert_eq!((error.kind(), error.location().unwrap().line), (ErrorKind::Syntax, 4));
        let seen = seen.lock().unwrap();
        let rules = seen.iter().filter_map(|event| match event {
            Event::Warning { rule, location, .. } => Some((rule.clone(), location.as_ref().unwrap().line)),
            _ => None,
        });
        rules.collect::<Vec<_>>()
    };
    let all = [("StageNameCasing".into(), 2), ("FromAsCasing".into(), 2), ("MaintainerDeprecated".into(), 3)];
    for check in [true, false] {
        assert_eq!(warned(check, "error=false"), all, "{check}");
        assert_eq!(warned(check, "skip=StageNameCasing,FromAsCasing"), all[2..], "{check}");
    }
    let (code, _, said) = treering(&place, &["--check", "."]);
    assert!(code == Some(1) && said.contains("MaintainerDeprecated") && said.contains("CPOY"), "{said}");
}

#[test]
fn a_build_argument_says_which_checks_hold() {
    let place = Place::new();
    let text = "# check=skip=all\nFROM scratch AS Base\nMAINTAINER me\n";
    let options = |value: &str, checks: Option<&str>| BuildOptions {
        build_args: vec![("BUILDKIT_DOCKERFILE_CHECK".into(), value.into())],
        checks: checks.map(String::from),
        ..place.options(text)
    };
    let rules = |options: &BuildOptions| {
        let (found, fails) = check(&place.store, options, &Control::default()).unwrap();
        (found.iter().map(|warning| warning.rule).collect::<Vec<_>>(), fails)
    };
    assert_eq!(rules(&place.options(text)), (vec![], false));
    let some = options("skip=StageNameCasing;error=true", None);
    assert_eq!(rules(&some), (vec!["MaintainerDeprecated"], true));
    assert_eq!(build(&place.store, &some, &Control::default()).unwrap_err().kind(), ErrorKind::Syntax);
    assert_eq!(rules(&options("", None)).0.len(), 2);
    assert_eq!(
        rules(&options("error=true", Some("skip=MaintainerDeprecated"))),
        (vec!["StageNameCasing"], false)
    );
    let (events, seen) = observed();
    let control = Control { events, ..Control::default() };
    build(&place.store, &options("skip=all", None), &control).unwrap();
    let seen = seen.lock().unwrap();
    assert!(!seen.iter().any(|event| matches!(event, Event::Warning { .. })), "no ARG has to take it");
    assert!(check(&place.store, &options("what", None), &Control::default()).is_err());
}
