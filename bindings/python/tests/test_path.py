"""Paths inside images."""

from __future__ import annotations

import os
import pathlib
import stat

import pytest

import treering


def test_a_path_reads_like_one_of_pathlib(store: treering.Store, tree: pathlib.Path) -> None:
    (tree / "etc/absolute").symlink_to("/bin/sh")
    (tree / "etc/loop").symlink_to("loop")
    (tree / "big").write_bytes(os.urandom(9 << 20))
    image = store.commit(tree, "app:v1")
    root = image.path()
    assert str(root) == "/" and root.is_dir() and root.exists() and root.name == ""
    motd = image.path("/etc/motd")
    assert motd == root / "etc" / "motd" or str(motd) == str(root / "etc/motd")
    assert motd.read_text() == "welcome\n" and motd.read_bytes() == b"welcome\n"
    assert (motd.name, motd.stem, motd.suffix, motd.parts) == ("motd", "motd", "", ("/", "etc", "motd"))
    assert sorted(child.name for child in (root / "bin").iterdir()) == ["bash", "sh"]
    bash = root.joinpath("bin", "bash")
    assert bash.is_symlink() and bash.is_file() and str(bash.readlink()) == "sh"
    assert str(bash.resolve()) == "/bin/sh"
    assert (root / "etc/absolute").read_bytes() == (tree / "bin/sh").read_bytes()
    found = (root / "bin/sh").stat()
    assert stat.S_ISREG(found.st_mode) and found.st_mode & 0o777 == 0o755
    assert (found.st_size, found.st_uid, found.st_mtime) == (5004, 0, 1_500_000_000.0)
    assert stat.S_ISLNK(bash.lstat().st_mode)
    assert [str(here) for here, _, _ in root.walk()] == ["/", "/bin", "/etc"]
    with (root / "big").open("rb") as file:
        assert file.read(10) + file.read() == (tree / "big").read_bytes()
    with motd.open() as text:
        assert list(text) == ["welcome\n"]
    for missing in (root / "nowhere", root / "etc/motd/x", root / "etc/loop"):
        assert not missing.exists() and not missing.is_file()
    with pytest.raises(treering.NotFoundError):
        (root / "nowhere").read_bytes()
    with pytest.raises(treering.InvalidArgumentError):
        (root / "etc").read_bytes()
    with pytest.raises(treering.InvalidArgumentError):
        list(motd.iterdir())
    with pytest.raises(ValueError, match="only be read"):
        motd.open("w")  # type: ignore[call-overload]
