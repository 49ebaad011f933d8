//! Destinations of data, talk and errors; exit codes; and that help, manual and completions are complete.

use std::io::{BufRead, Read, Write};
use std::process::Stdio;

use support::command::{World, run};
use support::tools::need;

const VERBS: [&str; 38] = [
    "commit",
    "edit",
    "diff",
    "snapshot",
    "layer",
    "images",
    "inspect",
    "history",
    "report",
    "df",
    "info",
    "save",
    "load",
    "import",
    "export",
    "tag",
    "rmi",
    "unpack",
    "checkout",
    "clone",
    "run",
    "create",
    "ps",
    "rm",
    "start",
    "exec",
    "attach",
    "logs",
    "stop",
    "restart",
    "kill",
    "wait",
    "rename",
    "prune",
    "fsck",
    "version",
    "completion",
    "man",
];

#[test]
fn a_command_line_that_makes_no_sense_is_2() {
    let world = World::new();
    world.run(&["frobnicate"]).fails(2, "unrecognized subcommand");
    world.run(&["images", "--frobnicate"]).fails(2, "unexpected argument");
    world.run(&["images", "--threads", "many"]).fails(2, "invalid value");
    let run = world.run(&[]).code(2);
    assert!(run.stderr.contains("Usage: treering") && run.stderr.contains("commit"), "{}", run.stderr);
    assert!(!world.join("store").exists());
}

#[test]
fn errors_as_json() {
    let world = World::new();
    let run = world.run(&["--json", "tag", "nope", "x"]).code(1);
    assert_eq!(run.text(), "");
    let error: serde_json::Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!(error["error"]["kind"], "not-found");
    assert_eq!(error["error"]["path"], "nope");
    assert!(error["error"]["hint"].is_string());
}

/// A file where a directory is needed, or a directory where a file is, is a mistake of the caller and no failure of the disk.
#[test]
fn a_path_to_the_wrong_thing_is_an_argument() {
    let world = World::unpacked();
    world.sh("echo x >file; tar -cf tree.tar tree");
    let lines = "commit file a|commit file/x a|snapshot file -o out|layer apply tree.tar file|layer create file -o out|clone file new
        |clone work file/new|checkout app:v1 file|unpack app:v1 file/x|--root file images|--root file/x images|load -i file/x|import file/x a
        |import work a|save app:v1 -o file/x|save app:v1 -o work|export app:v1 -o file/x";
    for line in lines.split('|').map(str::trim) {
        let words: Vec<&str> = ["--json"].into_iter().chain(line.split(' ')).collect();
        let run = world.run(&words);
        let error: serde_json::Value = serde_json::from_str(run.stderr.lines().last().unwrap()).unwrap();
        assert_eq!(error["error"]["kind"], "invalid-argument", "{line}: {error}");
        let message = error["error"]["message"].as_str().unwrap();
        assert!(["not a directory", "is a directory"].contains(&message), "{line}: {error}");
    }
}

#[test]
fn the_root_option_beats_the_environment() {
    let world = World::with_tree();
    world.run(&["--root", "here", "commit", "tree", "app:v1"]).ok();
    assert!(world.join("here/oci/index.json").exists() && !world.join("store").exists());
    assert_eq!(world.run(&["images", "-q", "--root", "here"]).ok().lines().len(), 1);
    world.run(&["--root", "tree", "images"]).fails(1, "");
    assert!(!world.join("tree/oci").exists());
    let home = world.join("home");
    std::fs::create_dir(&home).unwrap();
    run(world.command(&["images"]).env("TREERING_ROOT", "").env("HOME", &home)).ok();
    assert!(home.join(".local/share/treering/oci").exists());
}

#[test]
fn no_colours_where_nobody_sees_them() {
    let world = World::new();
    for line in [&["tag", "nope", "x"][..], &["--help"], &[], &["frobnicate"]] {
        let run = world.run(line);
        assert!(!run.stderr.contains('\x1b') && !run.text().contains('\x1b'), "{line:?}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let world = World::new();
    world.sh(
        "mkdir tree; cd tree; for i in $(seq 3000); do : >a-name-long-enough-to-fill-a-pipe-buffer-$i; done",
    );
    let mut child = world.command(&["diff", "-q", "tree"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut some = [0; 10];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut some).unwrap();
    drop(stdout);
    let status = child.wait_with_output().unwrap();
    assert_eq!(status.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&status.stderr), "");
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let world = World::with_tree();
    world.run(&["commit", "tree", "app:v1"]).ok();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for line in [
        &["images"][..],
        &["inspect", "app:v1"],
        &["diff", "app:v1", "tree", "--json"],
        &["history", "app:v1"],
    ] {
        let run = run(world.command(line).stdout(full())).code(1);
        assert!(
            run.stderr.contains("no space left on device") && run.stderr.contains("standard output"),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn help_is_there_for_every_verb() {
    let world = World::new();
    let all = world.run(&["--help"]).ok().text();
    assert!(all.contains("Exit codes:") && all.contains("Examples:") && all.contains("TREERING_ROOT"));
    for verb in VERBS {
        assert!(all.lines().any(|line| line.trim_start().starts_with(&format!("{verb} "))), "{verb}");
        let help = world.run(&[verb, "--help"]).ok().text();
        assert!(help.contains("Usage: treering"), "{verb}: {help}");
        let about = help.lines().next().unwrap();
        assert!(!about.ends_with('.') && about.len() < 100, "{verb}: {about}");
        if !["info", "version", "layer"].contains(&verb) {
            assert!(help.contains("Examples:\n  treering "), "{verb}");
        }
    }
    for verb in ["create", "apply", "ls"] {
        assert!(world.run(&["layer", verb, "--help"]).ok().text().contains("Examples:"), "{verb}");
    }
    assert!(!world.join("store").exists());
}

#[test]
fn the_manual_has_a_page_for_every_verb() {
    let world = World::new();
    world.run(&["man", "man/man1"]).ok();
    for verb in VERBS {
        let page = std::fs::read_to_string(world.join(&format!("man/man1/treering-{verb}.1"))).unwrap();
        assert!(page.contains(".TH") && page.contains("SYNOPSIS"), "{verb}");
    }
    let page = std::fs::read_to_string(world.join("man/man1/treering.1")).unwrap();
    assert!(page.contains(".SH \"EXIT CODES\"") && page.contains(".SH \"EXAMPLES\""));
    assert!(world.join("man/man1/treering-layer-create.1").exists());
}

#[test]
fn completions_have_every_verb() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = world.run(&["completion", shell]).ok().text();
        for verb in VERBS {
            assert!(script.contains(verb), "{shell} {verb}");
        }
    }
    let bash = world.run(&["completion", "bash"]).ok();
    std::fs::write(world.join("script"), &bash.stdout).unwrap();
    world.sh("bash -n script");
}

#[test]
fn a_log_hears_of_long_operations() {
    let world = World::new();
    let start = |arguments: &[&str]| world.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
    // Both wait for their input until one has said something; the quiet one began earlier.
    let mut quiet = start(&["-q", "load"]);
    let mut loud = start(&["load"]);
    let mut said = std::io::BufReader::new(loud.stderr.take().unwrap());
    let mut log = String::new();
    said.read_line(&mut log).unwrap();
    assert!(log.starts_with("loading: "), "{log}");
    drop((loud.stdin.take(), quiet.stdin.take()));
    log.clear();
    said.read_to_string(&mut log).unwrap();
    assert!(log.contains("error: "), "{log}");
    assert_eq!(loud.wait().unwrap().code(), Some(1));
    let quiet = String::from_utf8(quiet.wait_with_output().unwrap().stderr).unwrap();
    assert!(quiet.starts_with("error: "), "{quiet}");
}

/// Images by name, directories without a blank behind them, names with blanks whole.
#[test]
fn bash_completes_images_and_paths() {
    let world = World::unpacked();
    world.sh("mkdir 'my tree' other; touch 'a file.tar'");
    let program = std::path::Path::new(support::program());
    let script = world.run(&["completion", "bash"]).ok().stdout;
    std::fs::write(world.join("completion"), script).unwrap();
    let complete = |line: &str| {
        let words = format!(
            "export TREERING_ROOT=$PWD/store PATH={}:$PATH; . ./completion
             line={}; COMP_LINE=$line; COMP_POINT=${{#line}}; COMP_TYPE=9
             compopt() {{ :; }}
             # As readline does it: blanks and colons part words, a colon is one.
             rest=$line; COMP_WORDS=(); while [[ $rest =~ ^[[:space:]]*(:|[^[:space:]:]+)(.*)$ ]]; do
               COMP_WORDS+=(\"${{BASH_REMATCH[1]}}\"); rest=${{BASH_REMATCH[2]}}; done
             [[ $line != *[[:space:]:] ]] || COMP_WORDS+=(''); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
             _treering_words treering \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"
             printf '%s\\n' \"${{COMPREPLY[@]}}\" | sort",
            program.parent().unwrap().display(),
            shell_word(line),
        );
        let run = std::process::Command::new("bash")
            .args(["-c", &words])
            .current_dir(world.path())
            .output()
            .unwrap();
        assert!(run.status.success(), "{line}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap().lines().map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(complete("treering commit "), ["my tree", "other", "store", "tree", "work"]);
    assert_eq!(complete("treering commit work "), ["app:v1"]);
    assert_eq!(complete("treering unpack ap"), ["app:v1"]);
    assert_eq!(complete("treering unpack app:"), ["v1"]);
    assert_eq!(complete("treering unpack app:v"), ["v1"]);
    assert_eq!(complete("treering unpack app:v1 o"), ["other"]);
    assert_eq!(complete("treering load -i a"), ["a file.tar"]);
    assert!(complete("treering diff ").contains(&"app:v1".to_string()));
    assert!(complete("treering commit --sq").contains(&"--squash".to_string()));
    assert!(complete("treering comm").contains(&"commit".to_string()));
    #[cfg(feature = "sandbox")]
    {
        world.run(&["create", "--name", "box", "app:v1"]).ok();
        assert_eq!(complete("treering stop "), ["box"]);
        assert_eq!(complete("treering container rm b"), ["box"]);
        assert_eq!(complete("treering run "), ["app:v1", "box", "my tree", "other", "store", "tree", "work"]);
        assert_eq!(
            complete("treering run -i "),
            ["app:v1", "box", "my tree", "other", "store", "tree", "work"]
        );
        assert_eq!(complete("treering create a"), ["app:v1"]);
        assert_eq!(complete("treering exec box a"), ["a file.tar"]);
    }
}

/// Words are expanded as the shell does it, so a name may not be code.
#[test]
fn bash_runs_nothing_that_a_name_says() {
    let world = World::new();
    let script = world.run(&["completion", "bash"]).ok().stdout;
    std::fs::write(world.join("completion"), script).unwrap();
    let names = "#!/bin/sh\necho head; echo '$(touch${IFS}hit) v1'; echo '`touch${IFS}hit` v1'; echo 'good v1'; echo 'bad <none>'\n";
    world.sh(&format!("printf '%s' {} >fake; chmod +x fake", shell_word(names)));
    let words = "set -- ; . ./completion; compopt() { :; }; COMP_WORDS=(./fake unpack ''); COMP_CWORD=2
                 COMP_LINE='./fake unpack '; COMP_POINT=14; _treering_words ./fake '' unpack; echo \"${COMPREPLY[@]}\"";
    let run =
        std::process::Command::new("bash").args(["-c", words]).current_dir(world.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&run.stdout), "good:v1\n");
    assert!(!world.join("hit").exists());
}

/// As people type it, with a terminal and readline: what comes out of the keys is what the program gets.
#[test]
fn bash_completes_what_is_typed() {
    if !need("script", &["-qec", "true", "/dev/null"]) {
        return;
    }
    let world = World::unpacked();
    world.sh("mkdir 'my tree' other; touch 'a file.tar'; cp -r store elsewhere");
    world.run(&["--root", "elsewhere", "tag", "app:v1", "only:there"]).ok();
    std::fs::write(world.join("completion"), world.run(&["completion", "bash"]).ok().stdout).unwrap();
    // What would be run is printed, word by word.
    let rc = "PS1='> '; bind 'set bell-style none'; bind 'set enable-bracketed-paste off'; . ./completion
              treering() { [[ ${@: -1} != images ]] || { command treering \"$@\"; return; }; printf '<%s>' \"$@\"; echo; }";
    std::fs::write(world.join("rc"), rc).unwrap();
    let typed = [
        ("treering commit my\t app:\t -q", "<commit><my tree/><app:v1><-q>"),
        ("treering load -i a\t -q", "<load><-i><a file.tar><-q>"),
        ("treering unpack ap\toth\tnew", "<unpack><app:v1><other/new>"),
        ("treering save app:v1 -o oth\tx", "<save><app:v1><-o><other/x>"),
        ("treering commit --upper=oth\t work", "<commit><--upper=other/><work>"),
        ("treering --root else\t history on\t", "<--root><elsewhere/><history><only:there>"),
        ("treering --root=elsewhere history on\t", "<--root=elsewhere><history><only:there>"),
        ("treering comm\tmy\t", "<commit><my tree/>"),
    ];
    let keys: String = typed.iter().map(|(keys, _)| format!("{keys}\n")).collect::<String>() + "exit\n";
    let mut terminal = std::process::Command::new("script");
    terminal.args(["-qec", "bash --rcfile ./rc -i", "/dev/null"]).current_dir(world.path());
    let path = std::path::Path::new(support::program()).parent().unwrap().display().to_string();
    terminal.env("PATH", format!("{path}:{}", std::env::var("PATH").unwrap())).env("TERM", "dumb");
    terminal.env("TREERING_ROOT", world.join("store")).env_remove("HISTFILE");
    terminal.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut terminal = terminal.spawn().unwrap();
    terminal.stdin.take().unwrap().write_all(keys.as_bytes()).unwrap();
    let shown = String::from_utf8_lossy(&terminal.wait_with_output().unwrap().stdout).into_owned();
    for (keys, words) in typed {
        assert!(shown.lines().any(|line| line.trim_end() == words), "{keys:?}: no {words} in\n{shown}");
    }
}

fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[test]
fn a_level_that_is_none_is_a_usage_error() {
    let world = World::unpacked();
    for line in [
        &["commit", "work", "--level", "99"][..],
        &["layer", "create", "work", "--level", "99", "-o", "layer"],
        &["layer", "create", "work", "--compression", "zstd", "--level", "20", "-o", "layer"],
        &["import", "-", "--compression", "gzip", "--level", "13"],
    ] {
        world.run(line).fails(2, "level");
    }
}
