"""The package itself: documentation, the command, versions."""

from __future__ import annotations

import ast
import doctest
import importlib.metadata
import inspect
import pathlib
import re
import subprocess
import sys
import sysconfig

import pytest

import treering
import treering.progress

HERE = pathlib.Path(__file__).parent
PACKAGE = HERE.parent
ROOT = PACKAGE.parent.parent


def test_docstrings_are_right() -> None:
    for module in (treering, treering.progress):
        assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0


def test_the_readme_is_right(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TREERING_ROOT", str(tmp_path / "store"))
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.testfile(str(PACKAGE / "README.md"), module_relative=False, optionflags=flags)
    assert result.attempted > 10 and result.failed == 0


def test_the_program_in_the_readme_of_the_project_is_right(
    tmp_path: pathlib.Path, tree: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tree.parent)
    monkeypatch.setenv("TREERING_ROOT", str(tmp_path / "store"))
    found = re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    exec(found[1], {"treering": treering})
    assert (tree.parent / "work/etc/motd").read_text() == "welcome\n"
    assert capsys.readouterr().out == "\n"  # nothing has changed yet


def test_everything_public_is_documented() -> None:
    for name in treering.__all__:
        thing = getattr(treering, name)
        if not inspect.isclass(thing) and not callable(thing):
            continue
        assert inspect.getdoc(thing), name
        if inspect.isclass(thing) and thing.__module__ == "treering":
            # What it has from its bases as well: a class of the native module may be several there.
            for member, value in inspect.getmembers(thing):
                if not member.startswith("_"):
                    assert inspect.getdoc(value), f"{name}.{member}"


def test_the_stubs_have_every_member() -> None:
    """Those of bases too, which stubtest leaves out."""
    stubs = ast.parse((PACKAGE / "python/treering/_treering.pyi").read_text())
    for found in stubs.body:
        if isinstance(found, ast.ClassDef) and found.name in treering.__all__:
            known = {member.name for member in found.body if isinstance(member, ast.FunctionDef)}
            members = {name for name in dir(getattr(treering, found.name)) if not name.startswith("_")}
            assert members <= known, found.name


def test_the_stubs_say_what_the_module_says() -> None:
    stubs = ast.parse((PACKAGE / "python/treering/_treering.pyi").read_text())
    for found in stubs.body:
        if not isinstance(found, (ast.ClassDef, ast.FunctionDef)) or found.name not in treering.__all__:
            continue
        thing = getattr(treering, found.name)
        said = [(found, thing)]
        if isinstance(found, ast.ClassDef):
            members = [one for one in found.body if isinstance(one, ast.FunctionDef) and not one.name.startswith("_")]
            said += [(one, getattr(thing, one.name)) for one in members]
        for node, value in said:
            assert ast.get_docstring(node) == inspect.getdoc(value), f"{found.name}, {node.name}"


def test_the_reference_is_what_the_stubs_say() -> None:
    """`python3 bindings/python/reference.py --write` makes it anew."""
    made = subprocess.run([sys.executable, str(PACKAGE / "reference.py")], capture_output=True, check=True)
    assert made.stdout == (ROOT / "docs/python.md").read_bytes()


def test_versions_agree() -> None:
    text = (ROOT / "Cargo.toml").read_text()
    found = re.search(r'^version = "(.*)"', text, re.MULTILINE)
    assert found is not None
    assert treering.version == treering.__version__ == treering.info()["version"] == found[1]
    assert importlib.metadata.version("treering") == found[1]
    run = subprocess.run([sys.executable, "-m", "treering", "--version"], capture_output=True, text=True)
    assert run.stdout == f"treering {found[1]}\n"


def test_the_licences_are_in_the_package() -> None:
    files = importlib.metadata.files("treering") or []
    names = {path.name for path in files if path.parent.name == "licenses"}
    assert {"LICENSE-MIT", "LICENSE-APACHE"} <= names
    metadata = importlib.metadata.metadata("treering")
    assert metadata["License-Expression"] == "MIT OR Apache-2.0"
    assert metadata.get_all("Project-URL")


def test_the_command(tmp_path: pathlib.Path, tree: pathlib.Path) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "treering", "--root", str(tmp_path / "store"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True)

    made = run("commit", tree, "app:v1")
    assert made.returncode == 0, made.stderr
    image = treering.Store(tmp_path / "store").image("app:v1")
    assert image.id in made.stdout
    assert run("unpack", "app:v1", tmp_path / "copy").returncode == 0
    assert run("inspect", "absent").returncode == 1
    wrong = run("no-such-verb")
    assert wrong.returncode == 2 and "Usage" in wrong.stderr
    assert run("--help").returncode == 0


def test_a_free_threaded_interpreter_stays_one() -> None:
    """Where there is no lock by default, importing the package does not bring it back."""
    script = "import sys, treering; print(getattr(sys, '_is_gil_enabled', lambda: True)())"
    run = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True)
    locked = not sysconfig.get_config_var("Py_GIL_DISABLED")
    assert (run.returncode, run.stdout, run.stderr) == (0, f"{locked}\n", "")


def test_info() -> None:
    info = treering.info()
    assert info["platform"].startswith("linux/")
    assert info["threads"] >= 1
    assert info["abilities"]["set_owners"]["works"] == info["privileged"]
    assert all(one["remark"] for one in info["abilities"].values())
