"""The examples people start from."""

from __future__ import annotations

import pathlib
import subprocess
import sys

EXAMPLES = pathlib.Path(__file__).parents[3] / "examples/python"


def run(name: str, *arguments: object, cwd: pathlib.Path) -> str:
    command: list[str] = [sys.executable, "-W", "error", str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_checkpoint(tmp_path: pathlib.Path) -> None:
    out = run("checkpoint.py", tmp_path / "work", cwd=tmp_path)
    assert "back at step 1" in out


def test_diff_trees(tmp_path: pathlib.Path, tree: pathlib.Path) -> None:
    (tmp_path / "other").mkdir()
    out = run("diff_trees.py", tree, tmp_path / "other", cwd=tmp_path)
    assert "D /etc" in out.splitlines()


def test_make_image(tmp_path: pathlib.Path) -> None:
    out = run("make_image.py", cwd=tmp_path)
    assert (tmp_path / "hello.tar").stat().st_size > 0
    assert "sha256:" in out
