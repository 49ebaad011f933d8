//! Each rule: a file that breaks it and one that does not.

use std::collections::BTreeSet;

use super::parse;
use crate::dockerfile::check::RULES;
use crate::dockerfile::{Base, Checks, Facts, Ignore};

fn found(text: &str, checks: &str) -> Vec<(String, u32)> {
    let ignore = Ignore::parse(b"x", b"secret\n").unwrap();
    let facts = Facts {
        build_arg: &|_| None,
        ignore: Some(&ignore),
        base: &|image| match image {
            "known" => Some(Base { env: vec!["PATH".into(), "FROM_BASE".into()], has_shell: false }),
            "with-shell" => Some(Base { env: vec!["PATH".into()], has_shell: true }),
            _ => None,
        },
    };
    let checks = Checks::parse(checks).unwrap();
    let file = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    file.check(&checks, &facts).into_iter().map(|w| (w.rule.to_string(), w.location.line)).collect()
}

#[test]
fn each_rule_finds_what_it_is_for_and_nothing_else() {
    // The line that is warned of, or 0 for none.
    let table = [
        ("StageNameCasing", "FROM a AS Base", 1),
        ("StageNameCasing", "FROM a AS base", 0),
        ("FromAsCasing", "FROM a as b", 1),
        ("FromAsCasing", "from a as b", 0),
        ("NoEmptyContinuation", "FROM a\nRUN x \\\n\n y", 3),
        ("NoEmptyContinuation", "FROM a\nRUN x \\\n# note\n y", 0),
        ("ConsistentInstructionCasing", "FROM a\nRUN x\nrun y", 3),
        ("ConsistentInstructionCasing", "FROM a\nRun x", 2),
        ("ConsistentInstructionCasing", "from a\nrun y", 0),
        ("DuplicateStageName", "FROM a AS x\nFROM b AS x", 2),
        ("DuplicateStageName", "FROM a AS x\nFROM b AS y", 0),
        ("ReservedStageName", "FROM a AS scratch", 1),
        ("ReservedStageName", "FROM a AS context2", 0),
        ("JSONArgsRecommended", "FROM a\nCMD x", 2),
        ("JSONArgsRecommended", "FROM a\nENTRYPOINT [\"x\"]", 0),
        ("JSONArgsRecommended", "FROM a\nSHELL [\"bash\"]\nCMD x", 0),
        ("JSONArgsRecommended", "FROM a AS s\nSHELL [\"/bin/sh\", \"-c\"]\nFROM s\nCMD x", 0),
        ("JSONArgsRecommended", "FROM a AS s\nSHELL [\"bash\"]\nFROM a\nENTRYPOINT x", 4),
        ("JSONArgsRecommended", "FROM with-shell\nENTRYPOINT x", 0),
        ("JSONArgsRecommended", "FROM known\nCMD x\nSHELL [\"bash\"]", 2),
        ("MaintainerDeprecated", "FROM a\nMAINTAINER x", 2),
        ("MaintainerDeprecated", "FROM a\nLABEL x=y", 0),
        ("UndefinedArgInFrom", "ARG VERSION=1\nFROM a:$VERSOIN", 2),
        ("UndefinedArgInFrom", "ARG VERSION\nFROM --platform=$BUILDPLATFORM a:${VERSION:-1}", 0),
        ("WorkdirRelativePath", "FROM a\nWORKDIR x", 2),
        ("WorkdirRelativePath", "FROM a\nWORKDIR /x\nWORKDIR y", 0),
        ("WorkdirRelativePath", "FROM a\nWORKDIR x\nWORKDIR y", 2),
        ("WorkdirRelativePath", "FROM a AS s\nWORKDIR /x\nFROM s AS t\nFROM t\nWORKDIR y", 0),
        ("WorkdirRelativePath", "FROM a AS s\nWORKDIR /x\nFROM a\nWORKDIR y", 4),
        ("UndefinedVar", "FROM known\nENV a=$FROM_BASE\nCOPY $foo .", 3),
        ("UndefinedVar", "FROM scratch AS s\nARG foo\nENV bar=1\nCOPY $foo $PATH\nFROM s\nCOPY $bar .", 0),
        ("UndefinedVar", "FROM scratch AS s\nARG foo\nFROM s\nCOPY $foo .", 0),
        ("UndefinedVar", "FROM scratch AS s\nARG foo\nFROM scratch\nCOPY $foo .", 4),
        ("UndefinedVar", "FROM unknown\nCOPY $foo .", 0),
        ("UndefinedVar", "ARG b=s\nFROM scratch AS s\nARG foo\nFROM $b\nCOPY $foo $bar", 5),
        ("UndefinedVar", "FROM scratch\nCOPY <<E /x\n'$foo' \\$bar\nE", 2),
        ("UndefinedVar", "FROM scratch\nCOPY <<'E' /x\n$foo\nE\nRUN <<E\n$foo\nE", 0),
        ("UndefinedVar", "FROM scratch\nARG bar\nRUN --mount=type=cache,id=$foo,target=/$bar x", 3),
        ("UndefinedVar", "FROM scratch\nRUN --mount=type=cache,id=${foo:-x},target=/$PATH $x", 0),
        ("UndefinedVar", "FROM scratch\nCOPY --exclude=$foo a /b", 2),
        ("MultipleInstructionsDisallowed", "FROM a\nCMD [\"a\"]\nCMD [\"b\"]", 2),
        ("MultipleInstructionsDisallowed", "FROM a\nCMD [\"a\"]\nFROM b\nCMD [\"b\"]", 0),
        ("LegacyKeyValueFormat", "FROM a\nENV a b", 2),
        ("LegacyKeyValueFormat", "FROM a\nENV a=b", 0),
        ("RedundantTargetPlatform", "FROM --platform=$TARGETPLATFORM a", 1),
        ("RedundantTargetPlatform", "FROM --platform=$BUILDPLATFORM a", 0),
        ("SecretsUsedInArgOrEnv", "FROM a\nARG AWS_SECRET=1", 2),
        ("SecretsUsedInArgOrEnv", "FROM a\nENV github_token=x", 2),
        ("SecretsUsedInArgOrEnv", "FROM a\nARG PUBLIC_KEY\nARG MONKEY", 0),
        ("InvalidDefaultArgInFrom", "ARG tag\nFROM a:$tag", 2),
        ("InvalidDefaultArgInFrom", "ARG tag=1\nFROM a:$tag", 0),
        ("FromPlatformFlagConstDisallowed", "FROM --platform=linux/amd64 a", 1),
        ("FromPlatformFlagConstDisallowed", "FROM --platform=linux/amd64 a AS x-amd64", 0),
        ("CopyIgnoredFile", "FROM a\nCOPY ./secret x", 2),
        ("CopyIgnoredFile", "FROM a\nCOPY --from=x secret x\nCOPY y x", 0),
        ("InvalidDefinitionDescription", "# other text\nFROM a AS x", 1 + 1),
        ("InvalidDefinitionDescription", "# x makes it\nFROM a AS x", 0),
        ("InvalidDefinitionDescription", "# other text\nARG x\nFROM a", 2),
        ("InvalidDefinitionDescription", "FROM a\n# other text\nARG x=1 y=2", 3),
        ("InvalidDefinitionDescription", "FROM a\n# y is the second\nARG x=1 y=2", 0),
        ("InvalidDefinitionDescription", "# text\n# x makes it\nFROM a AS x", 0),
        ("InvalidDefinitionDescription", "# x makes it\n# text\nFROM a AS x", 3),
        ("InvalidDefinitionDescription", "# text\n#\nARG x\n# text\n\nFROM a AS x", 0),
        ("InvalidDefinitionDescription", "# text\nFROM a\n# text\nCOPY a b", 0),
        ("ExposeProtoCasing", "FROM a\nEXPOSE 80/TCP", 2),
        ("ExposeProtoCasing", "FROM a\nEXPOSE 80/tcp", 0),
        ("ExposeInvalidFormat", "FROM a\nEXPOSE 1.2.3.4:80:80", 2),
        ("ExposeInvalidFormat", "FROM a\nEXPOSE 80", 0),
    ];
    for (rule, text, line) in table {
        let all = found(text, "experimental=all");
        let lines: Vec<u32> = all.iter().filter(|(name, _)| name == rule).map(|(_, line)| *line).collect();
        assert_eq!(lines, if line == 0 { vec![] } else { vec![line] }, "{rule}: {text}: {all:?}");
    }
    // InvalidBaseImagePlatform needs an image: the build finds it.
    let shown: BTreeSet<&str> = table.iter().map(|(rule, ..)| *rule).collect();
    let missing: Vec<_> = RULES.iter().filter(|rule| !shown.contains(**rule)).collect();
    assert_eq!(missing, [&"InvalidBaseImagePlatform"]);
}

#[test]
fn rules_are_skipped_by_name() {
    let text = "FROM a as B\nMAINTAINER x";
    let rules = |checks: &str| found(text, checks).into_iter().map(|(rule, _)| rule).collect::<Vec<_>>();
    assert_eq!(rules("error=false").len(), 3);
    assert_eq!(rules("skip=fromascasing, StageNameCasing"), ["MaintainerDeprecated"]);
    assert!(rules("skip=all").is_empty());
    assert_eq!(Checks::parse("").unwrap(), Checks::default());
    assert!(Checks::parse("skip=all;error=TRUE").unwrap().error);
    assert!(Checks::parse("nothing").is_err() && Checks::parse("error=maybe").is_err());
}
