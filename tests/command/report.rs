//! `report`: what an image consists of, as text, as JSON and as a page in a real browser.

use std::process::Command;

use support::command::World;

/// Returns an image of three steps: the second one overwrites, deletes and leaves package lists, the third one deletes
/// those.
fn world() -> World {
    let world = World::new();
    world.sh(r#"mkdir -p tree/app tree/var/lib/dpkg tree/var/lib/apt/lists
        head -c 3000000 /dev/urandom >tree/app/data; head -c 5000 /dev/urandom >tree/app/gone
        printf 'Package: hello\nStatus: install ok installed\nInstalled-Size: 280\nVersion: 2.10-3\n\n' >tree/var/lib/dpkg/status
        echo '</script><script>document.body.dataset.broken=1</script>' >'tree/app/<b>&"name"'
        printf x >"$(printf 'tree/app/\377')""#);
    world.run(&["commit", "-m", "<img src=x onerror=alert(1)>", "tree", "app:v1"]).ok();
    world.sh("head -c 2000000 /dev/urandom >tree/app/data; rm tree/app/gone; head -c 4000000 /dev/urandom >tree/var/lib/apt/lists/one");
    world.run(&["commit", "tree", "app:v1"]).ok();
    world.sh("rm tree/var/lib/apt/lists/one; mkdir tree/new; head -c 1000 /dev/urandom >tree/new/file");
    world.run(&["commit", "tree", "app:v1"]).ok();
    world
}

#[test]
fn what_each_step_did_is_counted() {
    let world = world();
    let report = world.run(&["report", "--json", "app:v1"]).ok().json();
    let layer = |at: usize| &report["steps"][at]["layer"];
    let count = |at: usize, what: &str| {
        (layer(at)[what]["files"].as_u64().unwrap(), layer(at)[what]["bytes"].as_u64().unwrap())
    };
    assert_eq!(report["steps"].as_array().unwrap().len(), 3);
    assert_eq!(count(0, "wasted"), (2, 3_005_000));
    assert_eq!(count(1, "added"), (1, 4_000_000));
    assert_eq!(count(1, "changed"), (1, 2_000_000));
    assert_eq!(count(1, "deleted"), (1, 5_000));
    assert_eq!(count(1, "wasted"), (1, 4_000_000));
    assert_eq!((count(2, "added"), count(2, "deleted")), ((1, 1_000), (1, 4_000_000)));
    let number = |name: &str| report[name].as_u64().unwrap();
    assert_eq!(number("wasted"), 7_005_000);
    assert_eq!(number("visible") + number("wasted"), number("stored"));
    assert_eq!(report["files"][0]["path"], "/app/data");
    assert_eq!(
        (report["files"][0]["bytes"].as_u64(), report["files"][0]["step"].as_u64()),
        (Some(2_000_000), Some(1))
    );
    let lost = &report["wasted_files"][0];
    assert_eq!((lost["path"].as_str(), lost["by"].as_u64()), (Some("/var/lib/apt/lists/one"), Some(2)));
    assert_eq!(lost["deleted"], true);
    assert_eq!(report["packages"][0]["name"], "hello");
    assert_eq!(report["packages"][0]["bytes"], 280 * 1024);
    assert_eq!(report["advice"][0]["kind"], "overwritten");
    let tree = &layer(0)["tree"];
    assert_eq!(
        (tree["children"][0]["name"].as_str(), tree["children"][0]["children"][0]["name"].as_str()),
        (Some("app"), Some("data"))
    );

    let text = world.run(&["report", "app:v1"]).ok().text();
    assert!(text.contains("\n9.01MB of files in all layers, 7MB of them wasted\n"), "{text}");
    assert_eq!(text.lines().filter(|line| line.contains("treering commit")).count(), 3, "{text}");
    // The lists stay in an image with a last step that did not remove them.
    world.run(&["edit", "--drop-last", "1", "app:v1", "app:v2"]).ok();
    let report = world.run(&["report", "--json", "app:v2"]).ok().json();
    let kinds: Vec<&str> =
        report["advice"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["package-lists", "overwritten"]);
    world.run(&["report", "app:v9"]).fails(1, "app:v9");
}

#[test]
fn the_page_works_in_a_browser_without_a_network() {
    if !support::tools::need("chromium", &["--version"]) {
        return;
    }
    let world = world();
    world.run(&["report", "app:v1", "-o", "report.html"]).ok();
    let page = std::fs::read_to_string(world.join("report.html")).unwrap();
    let (before, rest) = page.split_once("id=\"data\">").unwrap();
    let (data, after) = rest.split_once("</script>").unwrap();
    assert!(!data.contains('<') && data.contains("onerror"), "{data}");
    for part in [before, after] {
        assert!(
            !["http:", "https:", "src=", "url("].iter().any(|text| part.contains(text)),
            "nothing is loaded"
        );
    }
    let out = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--virtual-time-budget=2000",
        ])
        .args(["--no-first-run", "--disable-background-networking", "--enable-logging=stderr", "--dump-dom"])
        .arg(format!("--user-data-dir={}", world.join("profile").display()))
        .arg(format!("file://{}", world.join("report.html").display()))
        .env("HOME", world.path())
        .output()
        .unwrap();
    let (dom, log) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{log}");
    assert!(!log.contains("CONSOLE"), "{log}");
    // The program of the page ran to its end, and what the image is called is text.
    assert!(dom.contains("data-ready=\"yes\"") && !dom.contains("data-broken"), "{dom}");
    assert!(dom.contains("<h1 id=\"name\">app:v1</h1>"), "{dom}");
    let rows = |table: &str| {
        let from = dom.split_once(&format!("id=\"{table}\"")).unwrap().1;
        from.split_once("</table>").unwrap().0.matches("<tr").count() - 1
    };
    assert_eq!((rows("steps"), rows("packages"), rows("wasted")), (3, 1, 3));
    assert!(dom.contains("/app/&lt;b&gt;&amp;\"name\""), "{dom}");
    let map = dom.split_once("<div id=\"map\">").unwrap().1.split_once("</div>").unwrap().0;
    assert_eq!(map.matches("data-level=\"1\"").count(), 3, "a box for each layer: {map}");
    assert!(
        map.contains("data-level=\"3\"") && map.contains(">data "),
        "directories and files in them: {map}"
    );
    assert!(map.contains("width:") && !map.contains("NaN"), "{map}");
}
