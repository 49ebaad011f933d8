#!/usr/bin/env python3
"""Check the words of STYLE.md where a program can: usage: tests/words.py

- The doc comment of a function begins with a verb in the third person, and that of no item or file with "What", "Who" or
  "Whose".
- In comments, documents, messages and names of functions software is it: no who, whoever, whose, whom, and it does not
  know or tell.
- Outside of tests, comments and documents have no we.

`tests/words.allow` has the places where a word is meant as it stands: a path, a colon, and a part of the line.
"""

import io
import pathlib
import re
import subprocess
import sys
import tokenize

TOP = pathlib.Path(__file__).resolve().parent.parent
WORDS = re.compile(r"\b(who|whoever|whose|whom|knows?|knew|tells?|told)\b", re.IGNORECASE)
WE = re.compile(r"\b(we|us)\b", re.IGNORECASE)
NAME = re.compile(r"\b(?:fn|def) (\w+)")
OPENERS = re.compile(r"(What|Whatever|Who|Whoever|Whose|Whom)\b")
VERB = re.compile(r"[A-Z][a-z-]+s\b|#|See\b")
FUNCTION = re.compile(r'(pub(\([^)]*\))? )?((const|unsafe|async|extern "C") )*fn ')
TYPE = re.compile(r"(pub(\([^)]*\))? )?(unsafe )?(struct|enum|union|trait|type|mod) ")
SOURCES = ("*.rs", "*.go", "*.md", "*.sh", ".ci/*", "Makefile", "*.py", "*.pyi", "*.c", "*.h", "*.cc")
TESTS = re.compile(r"(^|[/_])(tests?|benches)([/_.]|$)")
#: The strings of these are messages; those of tests are anything.
PROGRAMS = ("src/", "bindings/")
#: What a string may stand in or beside: comments, raw strings, strings, characters.
TOKEN = re.compile(r"//[^\n]*|/\*.*?\*/|\br(#*)\".*?\"\1|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\\n]|\\.)'", re.DOTALL)
#: Docstrings of Python stand in these: PEP 257 has imperatives there, and nouns for properties.
PYTHON = "bindings/python/"


def files(*patterns: str) -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z", "--", *patterns], cwd=TOP, check=True, capture_output=True)
    return [name for name in listed.stdout.decode().split("\0") if name and not name.startswith("tests/data/")]


def blocks(lines: list[str]) -> "list[tuple[int, list[str], str, bool]]":
    """Doc comments: number of the first line, text, the declaration that follows, and whether that is a test."""
    found = []
    at = 0
    while at < len(lines):
        mark = next((mark for mark in ("///", "//!") if lines[at].strip().startswith(mark)), None)
        if mark is None:
            at += 1
            continue
        first = at
        while at < len(lines) and lines[at].strip().startswith(mark):
            at += 1
        text = [line.strip()[3:].strip() for line in lines[first:at]]
        attributes, depth, after = "", 0, at
        while mark == "///" and after < len(lines) and (depth or lines[after].strip().startswith(("#[", "//"))):
            attributes += lines[after]
            depth += sum(lines[after].count(c) for c in "([{") - sum(lines[after].count(c) for c in ")]}")
            after += 1
        declaration = lines[after].strip() if mark == "///" and after < len(lines) else ""
        found.append((first + 1, text, declaration, "test]" in attributes or "proptest" in attributes))
    return found


def comment(line: str, name: str) -> str:
    """The part of a line that is a comment; all of it in a document."""
    if name.endswith(".md"):
        return line
    if name.endswith((".rs", ".go", ".c", ".h", ".cc")):
        start = re.search(r"(^|\s)(//[/!]?|/\*|\*)\s", line)
    else:
        start = re.search(r"(^|\s)@?#:?\s", line)
    return line[start.end() :] if start else ""


def docstrings(text: str) -> "list[tuple[int, str]]":
    """The lines of texts in three quotes that stand by themselves, by number."""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.STRING and token.string.startswith('"""') and not token.line[: token.start[1]].strip():
            found += enumerate(token.string.split("\n"), token.start[0])
    return found


def strings(text: str, name: str) -> "list[tuple[int, str]]":
    """The strings of a program, line by line, with their numbers."""
    found = []
    if name.endswith(".py"):
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.STRING or token.type == getattr(tokenize, "FSTRING_MIDDLE", None):
                found += enumerate(token.string.split("\n"), token.start[0])
        return found
    for token in TOKEN.finditer(text.split("#[cfg(test)]\nmod ")[0]):
        if token[0].endswith('"'):
            found += enumerate(token[0].split("\n"), 1 + text.count("\n", 0, token.start()))
    return found


def check(name: str) -> "list[tuple[int, str, str]]":
    text = (TOP / name).read_text(encoding="utf-8")
    lines = text.split("\n")
    wrong = []
    said = [(number, comment(line, name)) for number, line in enumerate(lines, 1)]
    if name.endswith((".py", ".pyi")):
        said += docstrings(text)
    if name.startswith(PROGRAMS) and name.endswith((".rs", ".go", ".py")) and not TESTS.search(name):
        said += strings(text, name)
    for number, part in said:
        line = lines[number - 1]
        word = WORDS.search(part) or (not TESTS.search(name) and WE.search(part))
        if word:
            wrong.append((number, line, f'"{word[0]}"'))
    for number, line in enumerate(lines, 1):
        for function in NAME.findall(line):
            word = WORDS.search(function.replace("_", " "))
            if word:
                wrong.append((number, line, f'"{word[0]}" in a name'))
    if name.endswith(".rs"):
        in_python = name.startswith(PYTHON)
        for number, block, declaration, is_test in blocks(lines):
            begin = next((line for line in block if line), "")
            function = FUNCTION.match(declaration)
            if OPENERS.match(begin) and not is_test:
                wrong.append((number, lines[number - 1], "a noun or a verb comes first"))
            elif function and not is_test and not in_python and not VERB.match(begin):
                wrong.append((number, lines[number - 1], "a function's comment begins with a verb, as in Returns"))
            elif TYPE.match(declaration) and re.match(r"(How|Where|Whether|Why)\b", begin) and not in_python:
                wrong.append((number, lines[number - 1], "a type's comment begins with a noun"))
    return wrong


def main() -> int:
    allowed: dict[str, list[str]] = {}
    for line in (TOP / "tests/words.allow").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, part = line.split(": ", 1)
            allowed.setdefault(name, []).append(part)
    unused = {(name, part) for name, parts in allowed.items() for part in parts}
    bad = 0
    for name in files(*SOURCES):
        if name == "tests/words.py":
            continue
        for number, line, why in check(name):
            part = next((part for part in allowed.get(name, []) if part in line), None)
            if part is None:
                print(f"{name}:{number}: {why}: {line.strip()}")
                bad += 1
            else:
                unused.discard((name, part))
    for name, part in sorted(unused):
        print(f"tests/words.allow: {name}: {part}: there is no such line any more")
        bad += 1
    return 1 if bad else 0


sys.exit(main())
