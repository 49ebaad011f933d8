"""A directory that is checkpointed after every step, and can go back to any of them.

A sandbox that lets a user or a program work in a directory calls `save` after each step. Every step is a layer of
what the step changed, so a checkpoint costs what the step did, and an untouched tree costs nothing. Going back
touches only what differs.

usage: checkpoint.py DIR
"""

from __future__ import annotations

import os
import pathlib
import sys

import treering


class Checkpoints:
    """The steps of one directory, kept in a store under NAME:0, NAME:1, ..."""

    def __init__(self, store: treering.Store, directory: str | os.PathLike[str], name: str = "work") -> None:
        self.store = store
        self.directory = pathlib.Path(directory)
        self.name = name
        self.steps = 0

    def save(self, message: str) -> treering.Image:
        """Keep the directory as it is now."""
        image = self.store.commit(self.directory, f"{self.name}:{self.steps}", message=message)
        self.steps += 1
        return image

    def back_to(self, step: int) -> None:
        """Make the directory what it was after a step; what was done since stays in the store."""
        self.store.checkout(f"{self.name}:{step}", self.directory, discard=True)


def main() -> None:
    work = pathlib.Path(sys.argv[1])
    work.mkdir()
    with treering.Store(work.with_name(work.name + ".store")) as store:
        checkpoints = Checkpoints(store, work)

        (work / "notes").write_text("one\n")
        checkpoints.save("write notes")
        (work / "more").write_text("two\n")
        image = checkpoints.save("write more")
        print(f"step 1 is a layer of {image.layers[-1].size} bytes")
        (work / "notes").unlink()
        checkpoints.save("lose the notes")

        checkpoints.back_to(1)
        assert (work / "notes").read_text() == "one\n"
        print("back at step 1:", sorted(path.name for path in work.iterdir()))
        (work / "notes").write_text("better\n")
        for change in store.diff(work):
            print(change)


if __name__ == "__main__":
    main()
