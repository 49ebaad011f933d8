#!/usr/bin/env python3
"""Write docs/python.md, the reference of the Python package, from its stubs and sources: usage: reference.py [--write]

Without ``--write`` the page goes to standard output. A test compares it with the one in docs/.
"""

from __future__ import annotations

import ast
import pathlib
import re
import sys
import textwrap
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
SOURCES = HERE / "python/treering"
PAGE = HERE.parent.parent / "docs/python.md"
#: Methods of Python itself that are part of what a class is for, and how a call of them is written.
SPOKEN = {"__getitem__": "[]", "__iter__": "iteration", "__contains__": "in", "__len__": "len()", "__bool__": "bool()"}
#: A signature that is longer is written with one parameter a line.
WIDTH = 100

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Source:
    """A file of the package: its text, and what it defines."""

    lines: list[str]
    items: dict[str, ast.stmt]

    @classmethod
    def read(cls, path: pathlib.Path) -> Source:
        """Read a file."""
        text = path.read_text(encoding="utf-8")
        items: dict[str, ast.stmt] = {}
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef | Function):
                items[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                items[node.targets[0].id] = node
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                items[node.target.id] = node
        return cls(text.split("\n"), items)

    def comment(self, node: ast.stmt) -> str:
        """The ``#:`` lines above a field or a name."""
        at, found = node.lineno - 2, list[str]()
        while at >= 0 and self.lines[at].strip().startswith("#:"):
            found.insert(0, self.lines[at].strip()[2:].strip())
            at -= 1
        return prose(" ".join(found))


def prose(text: str) -> str:
    """A docstring as Markdown."""
    text = re.sub(r":(?:meth|func|class):`([^`]+)`", r"`\1`", text)
    text = re.sub(r"``(.+?)``", r"`\1`", text, flags=re.DOTALL)
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip()):
        if all(line.startswith("    ") for line in block.split("\n")):
            blocks.append(f"```python\n{textwrap.dedent(block)}\n```")
        else:
            blocks.append(" ".join(line.strip() for line in block.split("\n")))
    return "\n\n".join(blocks)


def doc(node: ast.ClassDef | Function) -> str:
    """The docstring of a class or function, as Markdown."""
    return prose(ast.get_docstring(node) or "")


def signature(node: Function, owner: str = "") -> str:
    """The signature of a function or method as a block of code. What is passed by itself is left out."""
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    static = any(isinstance(one, ast.Name) and one.id == "staticmethod" for one in node.decorator_list)
    skipped = 1 if owner and not static else 0
    defaults = [None] * (len(positional) - len(arguments.defaults)) + [ast.unparse(one) for one in arguments.defaults]

    def shown(argument: ast.arg, default: str | None) -> str:
        text = argument.arg
        if argument.annotation is not None:
            text += f": {ast.unparse(argument.annotation)}"
        return text if default is None else f"{text} = {default}"

    parts = [shown(one, default) for one, default in zip(positional, defaults, strict=True)][skipped:]
    if arguments.vararg is not None:
        parts.append("*" + shown(arguments.vararg, None))
    elif arguments.kwonlyargs:
        parts.append("*")
    for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        parts.append(shown(one, None if default is None else ast.unparse(default)))
    if arguments.kwarg is not None:
        parts.append("**" + shown(arguments.kwarg, None))
    name = owner if node.name in ("__new__", "__init__") else f"{owner}.{node.name}" if owner else node.name
    back = "" if node.returns is None or name == owner else f" -> {ast.unparse(node.returns)}"
    line = f"{name}({', '.join(parts)}){back}"
    if len(line) > WIDTH:
        line = f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){back}"
    return f"```python\n{line}\n```"


def is_property(node: Function) -> bool:
    """Whether a method is a property."""
    return any(isinstance(one, ast.Name) and one.id == "property" for one in node.decorator_list)


def bullet(name: str, kind: str, text: str) -> str:
    """A line of a list of attributes."""
    return f"- `{name}`: `{kind}`" + (f". {text}" if text else "")


def attributes(source: Source, node: ast.ClassDef) -> list[str]:
    """The attributes of a class: fields, properties, and what its constructor sets."""
    found = []
    for member in node.body:
        if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
            if not member.target.id.startswith("_"):
                found.append(bullet(member.target.id, ast.unparse(member.annotation), source.comment(member)))
        elif isinstance(member, Function) and is_property(member) and not member.name.startswith("_"):
            assert member.returns is not None
            found.append(bullet(member.name, ast.unparse(member.returns), doc(member).replace("\n\n", " ")))
        elif isinstance(member, Function) and member.name == "__init__":
            for line in member.body:
                target = line.target if isinstance(line, ast.AnnAssign) else None
                if isinstance(line, ast.AnnAssign) and isinstance(target, ast.Attribute) and not target.attr.startswith("_"):
                    found.append(bullet(target.attr, ast.unparse(line.annotation), source.comment(line)))
    return found


def class_page(source: Source, node: ast.ClassDef) -> list[str]:
    """The section of a class."""
    out = [f"### {node.name}", doc(node)]
    for member in node.body:
        if isinstance(member, Function) and member.name == "__new__":
            out.append(signature(member, node.name))
    fields = attributes(source, node)
    if fields:
        out.append("\n".join(fields))
    methods = [one for one in node.body if isinstance(one, Function) and not is_property(one)]
    spoken = sorted({SPOKEN[one.name] for one in methods if one.name in SPOKEN})
    if spoken:
        out.append("Takes " + ", ".join(f"`{one}`" for one in spoken) + ".")
    for method in methods:
        if not method.name.startswith("_"):
            out += [f"#### {node.name}.{method.name}", signature(method, node.name), doc(method)]
    return out


def error_row(node: ast.ClassDef) -> str:
    """The row of an exception in the table of errors."""
    values = {
        target.id: ast.literal_eval(member.value)
        for member in node.body
        if isinstance(member, ast.Assign)
        for target in member.targets
        if isinstance(target, ast.Name)
    }
    bases = ", ".join(f"`{ast.unparse(base)}`" for base in node.bases)
    return f"| `{node.name}` | {values.get('code', '')} | {values.get('kind', '')} | {bases} | {doc(node)} |"


def links(*lists: list[str]) -> list[str]:
    """Links to sections of the page, a paragraph for each list. Of names that differ in case alone the later ones are numbered."""
    seen, out = dict[str, int](), list[str]()
    for names in lists:
        line = []
        for name in names:
            number = seen.get(name.lower(), 0)
            seen[name.lower()] = number + 1
            line.append(f"[{name}](#{name.lower()}{f'-{number}' if number else ''})")
        out.append(", ".join(line) + ".")
    return out


def page() -> str:
    """The whole page."""
    front = ast.parse((SOURCES / "__init__.py").read_text(encoding="utf-8"))
    origin = {
        alias.asname or alias.name: node.module or ""
        for node in front.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    public = next(
        ast.literal_eval(node.value)
        for node in front.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    sources = {
        module: Source.read(next(path for end in ("pyi", "py") if (path := SOURCES / f"{module}.{end}").exists()))
        for module in sorted({*origin.values(), "_types", "progress"} - {""})
    }
    types = sources["_types"]

    def classes(*modules: str) -> list[tuple[Source, ast.ClassDef]]:
        found = [(sources[origin[name]], sources[origin[name]].items[name]) for name in public if origin.get(name) in modules]
        return [(source, node) for source, node in found if isinstance(node, ast.ClassDef)]

    main = classes("_treering", "_tree", "_container", "_path", "_layers")
    errors = [node for _, node in classes("_errors")]
    functions = [(name, sources[origin[name]].items[name]) for name in public if origin.get(name, "") not in ("", "_errors")]
    options = [(types, node) for name, node in types.items.items() if name.endswith("Options") and isinstance(node, ast.ClassDef)]
    results = [*classes("_types")]
    progress = sources["progress"]

    out = [
        "# The Python package, item by item",
        "Everything that `import treering` gives, with its signature. "
        "[The README](../bindings/python/README.md) shows how it is used.",
        "`bindings/python/reference.py --write` makes this page out of the type stubs and the sources, and a test compares it.",
        *links([node.name for _, node in main], [name for name, item in functions if isinstance(item, Function)]),
        "## Classes",
    ]
    for source, node in main:
        out += class_page(source, node)
    out.append("## Functions")
    for name, item in functions:
        if isinstance(item, Function):
            out += [f"### {name}", signature(item), doc(item)]
        elif isinstance(item, ast.AnnAssign):
            out.append(bullet(name, ast.unparse(item.annotation), ""))
    out += ["### progress", "The module `treering.progress`."]
    for item in progress.items.values():
        if isinstance(item, ast.ClassDef):
            out += ["#" + line if line.startswith("###") else line for line in class_page(progress, item)]
        elif isinstance(item, Function) and not item.name.startswith("_"):
            out += [f"#### progress.{item.name}", signature(item), doc(item)]
    out.append("## Results")
    out.append("Frozen dataclasses.")
    for source, node in results:
        out += class_page(source, node)
    out += ["## Options", "Keywords that several methods take."]
    for source, node in options:
        out += class_page(source, node)
    out += ["## Types", "The names of types in the signatures."]
    aliases = []
    for name, item in types.items.items():
        if isinstance(item, ast.Assign) and not name.startswith("_"):
            text = types.comment(item)
            aliases.append(f"- `{name}` = `{ast.unparse(item.value)}`" + (f". {text}" if text else ""))
    out.append("\n".join(aliases))
    out += ["## Errors", "Every exception is an `Error`."]
    error = next(node for node in errors if node.name == "Error")
    out += class_page(sources["_errors"], error)
    rows = [error_row(node) for node in errors if node is not error]
    out.append("\n".join(["| class | code | kind | bases | means |", "| --- | --- | --- | --- | --- |", *rows]))
    return "\n\n".join(part for part in out if part) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page(), encoding="utf-8")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        sys.stdout.write(page())
