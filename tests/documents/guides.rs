//! The lines of the guides are run, in order, as any user, with nothing but the command and what the page makes itself.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Returns the blocks of a page in one language, in order.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line == format!("```{language}") {
            found.push(
                lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect(),
            );
        }
    }
    found
}

/// A registry on the loopback address, ended when it is dropped.
struct Registry(Child, String);

impl Registry {
    fn start(scratch: &Path) -> Option<Registry> {
        let config = scratch.join("registry.yml");
        // Two processes may be given the same number; then the second one ends, and another is tried.
        for _ in 0..20 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let blobs = scratch.join("registry");
            let text = format!(
                "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
                blobs.display()
            );
            std::fs::write(&config, text).unwrap();
            let mut command = Command::new("docker-registry");
            command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
            let child = command.spawn().ok()?;
            let mut registry = Registry(child, format!("localhost:{port}"));
            for _ in 0..100 {
                if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Some(registry);
                }
                if registry.0.try_wait().unwrap().is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        panic!("docker-registry does not start");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Words that a file of GitLab cannot name a job by: they are settings of the whole file.
const GITLAB: [&str; 11] = [
    "after_script",
    "before_script",
    "cache",
    "default",
    "image",
    "include",
    "pages",
    "services",
    "stages",
    "variables",
    "workflow",
];

/// Returns the commands of the jobs in a page's YAML, as lines of a shell, with what a service gives replaced by what is here.
fn jobs(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for block in blocks(page, "yaml") {
        let mut script = false;
        for line in block.lines() {
            if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(' ')) {
                assert!(!GITLAB.contains(&name), "{name} is no job");
            }
            let item = line.trim_start().strip_prefix("- ");
            script = line.trim() == "script:" || script && item.is_some();
            let argv = line.trim_start().strip_prefix("command: [").and_then(|rest| rest.strip_suffix(']'));
            let command = match (item, argv) {
                (Some(item), _) if script => Some(item.to_string()),
                (Some(item), _) => item.strip_prefix("run: ").map(str::to_string),
                (None, Some(argv)) => Some(argv.replace(", ", " ")),
                _ => None,
            };
            // What fetches the program, and where the job's sources are, is the service's.
            found.extend(command.filter(|command| !command.starts_with("curl ")));
        }
    }
    let here = [
        ("./treering", "treering"),
        ("${{ secrets.GITHUB_TOKEN }}", "token"),
        ("${{ github.actor }}", "user"),
        ("registry.example", "$REGISTRY"),
        ("https://git.example/team/hello.git#main", "."),
    ];
    for command in &mut found {
        *command = here.iter().fold(command.clone(), |text, (from, to)| text.replace(from, to)) + "\n";
    }
    found
}

#[test]
fn the_programs_of_the_guide_are_the_examples() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(top.join("docs/guides/embed.md")).unwrap();
    for (language, file) in [
        ("rust", "rust/make_image.rs"),
        ("c", "c/make_image.c"),
        ("go", "go/make_image/main.go"),
        ("python", "python/make_image.py"),
    ] {
        let example = std::fs::read_to_string(top.join("examples").join(file)).unwrap();
        assert_eq!(blocks(&page, language), [example], "{language}");
    }
}

#[test]
fn the_lines_of_every_guide_work() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = 0;
    for entry in std::fs::read_dir(top.join("docs/guides")).unwrap() {
        let path = entry.unwrap().path();
        let page = std::fs::read_to_string(&path).unwrap();
        let mut script: String = blocks(&page, "sh").concat();
        if script.is_empty() {
            continue;
        }
        let jobs = jobs(&page);
        assert!(!path.ends_with("ci.md") || jobs.len() == 7, "{jobs:?}");
        script += &jobs.concat();
        let scratch = tempfile::tempdir().unwrap();
        let bin = scratch.path().join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::os::unix::fs::symlink(support::program(), bin.join("treering")).unwrap();
        let home = scratch.path().join("home");
        std::fs::create_dir(&home).unwrap();
        let registry = match script.contains("$REGISTRY") {
            true => Registry::start(scratch.path()),
            false => None,
        };
        if script.contains("$REGISTRY") && registry.is_none() {
            assert!(std::env::var_os("CI").is_none(), "docker-registry is missing");
            println!("SKIP-PART docker-registry: {}", path.display());
            continue;
        }
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!("set -eu -o pipefail\nset -x\n{script}")).current_dir(&home);
        for name in
            ["TREERING_ROOT", "XDG_DATA_HOME", "SOURCE_DATE_EPOCH", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE"]
        {
            command.env_remove(name);
        }
        let path_of = std::env::var("PATH").unwrap();
        let address = registry.as_ref().map_or("", |registry| &registry.1);
        command.env("REGISTRY", address).env("CI_REGISTRY", address);
        command.env("CI_REGISTRY_USER", "user").env("CI_REGISTRY_PASSWORD", "token");
        command.env("HOME", &home).env("PATH", format!("{}:{path_of}", bin.display()));
        let done = command.output().unwrap();
        let (out, said) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{}:\n{said}", path.display());
        // What a page shows as printed was printed.
        for shown in blocks(&page, "text") {
            assert!(out.contains(&shown), "{} shows\n{shown}but the lines print\n{out}", path.display());
        }
        pages += 1;
    }
    assert!(pages >= 2, "{pages} guides");
}
