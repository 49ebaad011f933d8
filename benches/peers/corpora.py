"""The trees that are measured, and images of them made by other tools."""

import os
import subprocess
from functools import cached_property
from pathlib import Path

from measure import Failed
from peers import REPOSITORY


def call(command: str, **variables: str | Path) -> None:
    """A shell command that is not measured; paths come to it as variables."""
    env = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    done = subprocess.run(["bash", "-c", "set -euo pipefail\n" + command], env=env, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"{command}: {' | '.join(done.stderr.strip().splitlines()[-3:])}")


class Corpus:
    """A named tree from tests/corpus.sh. What others make of it is made when first asked for and kept beside it."""

    def __init__(self, name: str) -> None:
        done = subprocess.run(["bash", "tests/corpus.sh", name], cwd=REPOSITORY, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(done.stderr.strip())
        self.name = name
        self.tree = Path(done.stdout.strip())

    def warm(self) -> None:
        """Reads the whole tree, so that every run finds it in memory."""
        call('tar -cf - -C "$tree" . | cat >/dev/null', tree=self.tree)

    @cached_property
    def entries(self) -> int:
        """How many files, directories and the rest there are, the root included."""
        return entries(self.tree)

    @cached_property
    def victim(self) -> str:
        """The file that gets edited: the middle one of all regular files in order, by its path in the tree."""
        found = []
        for directory, _, files in os.walk(self.tree):
            for file in files:
                path = os.path.join(directory, file)
                if os.path.isfile(path) and not os.path.islink(path) and os.stat(path).st_nlink == 1:
                    found.append(os.path.relpath(path, self.tree))
        return sorted(found)[len(found) // 2]

    @cached_property
    def tar(self) -> Path:
        """The tree as a plain tar by GNU tar."""
        return self.made(
            ".tar", "tar --numeric-owner --xattrs --xattrs-include='*' --acls --sort=name -cf \"$to\" -C \"$tree\" ."
        )

    @cached_property
    def gzip(self) -> Path:
        """The tar as gzip compresses it: one stream."""
        return self.made(".tar.gz", 'gzip -6 -n <"$tar" >"$to"', tar=self.tar)

    @cached_property
    def layout(self) -> Path:
        """The tree as a one-layer gzip image by umoci: an OCI layout with the tag `base`."""
        return self.made(
            ".umoci",
            'umoci init --layout "$to" && umoci new --image "$to:base" &&'
            ' umoci raw add-layer --image "$to:base" "$tar" && umoci gc --layout "$to"',
            tar=self.tar,
        )

    @cached_property
    def archive(self) -> Path:
        """The same image as an OCI archive, named foreign:v1."""
        return self.made(
            ".oci.tar",
            'skopeo --insecure-policy copy -q "oci:$layout:base" "oci-archive:$to:foreign:v1"',
            layout=self.layout,
        )

    @cached_property
    def docker(self) -> Path:
        """The same image as a docker-archive, named foreign:v1; its layer is not compressed."""
        return self.made(
            ".docker.tar",
            'skopeo --insecure-policy copy -q "oci:$layout:base" "docker-archive:$to:foreign:v1"',
            layout=self.layout,
        )

    def made(self, suffix: str, command: str, **variables: Path) -> Path:
        """The path of something beside the tree, made by `command` (as $to, from $tree) if it is not there yet."""
        path = self.tree.with_name(self.tree.name + suffix)
        if not path.exists():
            part = path.with_name(path.name + ".part")
            call('rm -rf "$to"; ' + command, to=part, tree=self.tree, **variables)
            part.rename(path)
        return path


def entries(tree: Path) -> int:
    """How many entries a tree has, the root included."""
    return 1 + sum(len(directories) + len(files) for _, directories, files in os.walk(tree))
