#!/usr/bin/env python3
"""usage: .ci/third_party.py [--target TRIPLE] [--features LIST] [--no-default-features] [MANIFEST]

Writes the licences of everything that is linked into what a manifest builds to standard output: the crates, as `cargo metadata`
resolves them, the C libraries inside of them, Rust's standard library, and musl for its targets. Nothing is fetched: what was
built lies in cargo's cache. A crate without a licence text is an error.
"""

import argparse
import html
import json
import os
import pathlib
import re
import subprocess
import sys

NAMES = re.compile(r"^(licen[cs]e|copying|copyright|notice|unlicense)", re.IGNORECASE)
SOURCES = {".rs", ".py", ".c", ".h", ".html", ".json", ".toml", ".sh"}
# What std brings along only on other systems.
ELSEWHERE = re.compile(
    r"^(windows|wasi|hermit|fortanix|moto-rt|r-efi|vex-|wit-bindgen|dlmalloc|unwinding|cc-|getopts|shlex|rand)"
)
MUSL = """\
Copyright (c) 2005-2020 Rich Felker, et al.

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation files
(the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy, modify, merge,
publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is furnished to do
so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE
FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""


def fail(text: str) -> None:
    sys.exit(f"third_party: {text}")


def output(*command: str) -> str:
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        fail(f"{' '.join(command)} failed")
    return run.stdout


def is_text(path: pathlib.Path) -> bool:
    return bool(NAMES.match(path.name)) and path.suffix not in SOURCES and path.is_file()


def chosen(expression: str, paths: list[pathlib.Path]) -> list[pathlib.Path]:
    """Of licences to choose from, MIT where there is a text of it; else all texts."""
    alternatives = re.split(r"\s+OR\s+|\s*/\s*", expression)
    if "MIT" in alternatives and " AND " not in expression:
        mit = [path for path in paths if re.match(r"^licen[cs]e-mit", path.name, re.IGNORECASE)]
        return mit or paths
    return paths


def crates(arguments: argparse.Namespace, target: str) -> list[tuple[str, str, list[str]]]:
    """The title, the licence expression and the texts of each linked crate that is not of this repository."""
    command = ["cargo", "metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform", target]
    command += ["--manifest-path", arguments.manifest]
    if arguments.features:
        command += ["--features", arguments.features]
    if arguments.no_default_features:
        command.append("--no-default-features")
    metadata = json.loads(output(*command))
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    manifest = str(pathlib.Path(arguments.manifest).resolve())
    todo = [one for one in packages if packages[one]["manifest_path"] == manifest]
    linked: set[str] = set()
    while todo:
        one = todo.pop()
        # What runs in the compiler is not in the program.
        if one in linked or any("proc-macro" in built["kind"] for built in packages[one]["targets"]):
            continue
        linked.add(one)
        for needed in nodes[one]["deps"]:
            if any(kind["kind"] is None for kind in needed["dep_kinds"]):
                todo.append(needed["pkg"])
    found = []
    for package in sorted((packages[one] for one in linked), key=lambda package: (package["name"], package["version"])):
        if package["source"] is None:
            continue
        title = f"{package['name']} {package['version']}"
        top = pathlib.Path(package["manifest_path"]).parent
        here = [path for path in sorted(top.iterdir()) if is_text(path)]
        # Libraries in other languages that it has inside.
        below = [path for path in sorted(top.rglob("*")) if path.parent != top and is_text(path)]
        texts = [path.read_text(errors="replace") for path in chosen(package["license"] or "", here) + below]
        if not texts:
            fail(f"{title} has no licence text")
        found.append((title, package["license"] or "see the text", texts))
    return found


def standard_library() -> list[tuple[str, str, list[str]]]:
    """The same for Rust's standard library and what is in it, out of the toolchain's own list."""
    root = pathlib.Path(output("rustc", "--print", "sysroot").strip()) / "share/doc/rust"
    page = root / "COPYRIGHT-library.html"
    version = output("rustc", "--version").split()[1]
    mit = root / "licenses/MIT.txt"
    ours = pathlib.Path(__file__).parent.parent / "LICENSE-MIT"
    own = mit.read_text() if mit.exists() else ours.read_text().split("\n\n", 1)[1]
    texts = ["Copyright (c) The Rust Project Developers (see https://thanks.rust-lang.org)\n\n" + own]
    if not page.exists():
        return [(f"Rust's standard library {version}", "MIT OR Apache-2.0", texts)]
    unicode = root / "licenses/Unicode-3.0.txt"
    if unicode.exists():
        texts.append("Copyright (c) 1991-2024 Unicode, Inc. (library/core/src/unicode/unicode_data.rs)\n\n" + unicode.read_text())
    found = [(f"Rust's standard library {version}", "(MIT OR Apache-2.0) AND Unicode-3.0", texts)]
    for part in page.read_text().split("<h3>")[1:]:
        title, _, rest = part.partition("</h3>")
        title = title.strip().lstrip("\N{PACKAGE}").strip()
        if ELSEWHERE.match(title):
            continue
        expression = re.search(r"<b>License:</b>\s*([^<]*)</p>", rest)
        notices = re.findall(r"<summary><code>([^<]*)</code></summary>\s*<pre>(.*?)</pre>", rest, re.DOTALL)
        texts = [html.unescape(text) for name, text in notices if re.search(r"mit", name, re.IGNORECASE)]
        texts = texts or [html.unescape(text) for _, text in notices]
        if not texts:
            fail(f"{title}, of Rust's standard library, has no licence text")
        found.append((f"{title} (in Rust's standard library)", expression[1].strip() if expression else "see the text", texts))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__.split("\n")[0].removeprefix("usage: "))
    parser.add_argument("--target")
    parser.add_argument("--features")
    parser.add_argument("--no-default-features", action="store_true")
    parser.add_argument("--musl", action="store_true", help="musl is linked too")
    parser.add_argument("manifest", nargs="?", default="Cargo.toml", metavar="MANIFEST")
    arguments = parser.parse_args()
    target = arguments.target or re.search(r"^host: (.*)$", output("rustc", "-vV"), re.MULTILINE)[1]
    parts = crates(arguments, target) + standard_library()
    if arguments.musl or "musl" in target:
        parts.append(("musl", "MIT", [MUSL]))
    # Texts that are the same but for their line breaks are given once.
    texts: dict[str, tuple[str, list[str]]] = {}
    for title, _, all_of_it in parts:
        for text in all_of_it:
            named = texts.setdefault(" ".join(text.split()), (text.strip("\n"), []))[1]
            if title not in named:
                named.append(title)
    lines = ["Parts of others in treering, and their licences.", ""]
    width = max(len(title) for title, _, _ in parts)
    lines += [f"{title:{width}}  {expression}" for title, expression, _ in parts]
    for text, named in texts.values():
        lines += ["", "-" * 100, ", ".join(named), "", *(line.rstrip() for line in text.splitlines())]
    # Whatever the locale: names of authors are not all of ASCII.
    with os.fdopen(sys.stdout.fileno(), "w", encoding="utf-8", closefd=False) as out:
        out.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
