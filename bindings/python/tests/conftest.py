"""Fixtures of the tests."""

from __future__ import annotations

import os
import pathlib
import signal

import hypothesis
import pytest

import treering

# Machines that run tests are slow and busy, and nothing here is timed by hypothesis.
hypothesis.settings.register_profile("tests", deadline=None, max_examples=60, derandomize=True)
hypothesis.settings.load_profile("tests")

# Started in the background by a shell, this process ignores Ctrl-C, and Python leaves that as it is.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def store(tmp_path: pathlib.Path) -> treering.Store:
    return treering.Store(tmp_path / "store")


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    """A small root filesystem with fixed times."""
    root = tmp_path / "rootfs"
    (root / "etc").mkdir(parents=True)
    (root / "bin").mkdir()
    (root / "etc/hostname").write_text("oak\n")
    (root / "etc/motd").write_text("welcome\n")
    (root / "bin/sh").write_bytes(b"\x7fELF" + bytes(5000))
    (root / "bin/sh").chmod(0o755)
    (root / "bin/bash").symlink_to("sh")
    for path in [*root.rglob("*"), root]:
        os.utime(path, (1_500_000_000, 1_500_000_000), follow_symlinks=False)
    return root
