"""The table that Rust, C, Go and Python share: the same steps give the same digests and the same errors."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pathlib
import re
import shutil
from typing import Any

import pytest

import treering

TABLE = pathlib.Path(__file__).parents[3] / "tests/data/parity.json"
WHEN = 1_700_000_000

Step = dict[str, Any]


def escape(path: str) -> str:
    return "".join(chr(byte) if 0x21 <= byte < 0x7F else f"\\x{byte:02x}" for byte in os.fsencode(path))


def unescape(text: str) -> bytes:
    return re.sub(rb"\\x(..)", lambda found: bytes([int(found[1], 16)]), text.encode())


def date(tree: bytes) -> None:
    for directory, directories, files in os.walk(tree, topdown=False):
        for name in directories + files:
            os.utime(os.path.join(directory, name), (WHEN, WHEN), follow_symlinks=False)
    os.utime(tree, (WHEN, WHEN))


def shown(path: str, target: str | None) -> str:
    return (escape(path) or ".") + (f" -> {escape(target)}" if target is not None else "")


class Failing:
    """A caller's stream that does not work."""

    def read(self, size: int) -> bytes:
        raise OSError("it does not work")

    def write(self, data: bytes) -> int:
        raise OSError("it does not work")


class Runner:
    """One case, in a directory of its own."""

    def __init__(self, scratch: pathlib.Path) -> None:
        self.scratch = os.fsencode(scratch)

    def place(self, name: str) -> bytes:
        return os.path.normpath(os.path.join(self.scratch, unescape(name)))

    def store(self, step: Step) -> treering.Store:
        return treering.Store(self.place(step.get("store", "store")))

    def run(self, step: Step) -> dict[str, Any]:
        try:
            result: dict[str, Any] = getattr(self, step["op"])(step)
        except treering.Error as error:
            return {"error": error.kind}
        return result

    def make(self, step: Step) -> dict[str, Any]:
        tree = self.place(step["dir"])
        if not os.path.exists(tree):
            os.mkdir(tree)
            os.chmod(tree, 0o755)
        for entry in step["entries"]:
            path = os.path.join(tree, unescape(entry["path"]))
            if entry["type"] not in ("directory", "xattr") and os.path.lexists(path):
                os.unlink(path)
            if entry["type"] == "directory":
                os.makedirs(path, exist_ok=True)
            elif entry["type"] == "file":
                with open(path, "wb") as file:
                    file.write(entry["content"].encode())
            elif entry["type"] == "symlink":
                os.symlink(unescape(entry["target"]), path)
            elif entry["type"] == "xattr":
                os.setxattr(path, entry["name"], unescape(entry["content"]))
            else:
                os.link(os.path.join(tree, unescape(entry["target"])), path)
            if "mode" in entry:
                os.chmod(path, int(entry["mode"], 8))
        date(tree)
        return {}

    def delete(self, step: Step) -> dict[str, Any]:
        tree = self.place(step["dir"])
        path = os.path.join(tree, unescape(step["path"]))
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
        date(tree)
        return {}

    @staticmethod
    def entry(entry: treering.Entry) -> str:
        return f"{entry.kind} {entry.mode:04o} {entry.size} {shown(entry.path, entry.link_target)}"

    def entries(self, snapshot: treering.Snapshot) -> dict[str, Any]:
        return {"entries": [self.entry(entry) for entry in snapshot]}

    def scan(self, step: Step) -> dict[str, Any]:
        return self.entries(treering.scan(self.place(step["dir"])))

    def save_snapshot(self, step: Step) -> dict[str, Any]:
        treering.scan(self.place(step["dir"])).save(self.place(step["file"]))
        return {}

    def load_snapshot(self, step: Step) -> dict[str, Any]:
        return self.entries(treering.Snapshot.load(self.place(step["file"])))

    def lookup(self, step: Step) -> dict[str, Any]:
        entry = treering.scan(self.place(step["dir"]), **step.get("options", {}))[unescape(step["path"])]
        xattrs = [f"{escape(name)} {escape(os.fsdecode(value))}" for name, value in entry.xattrs.items()]
        return {"entry": self.entry(entry), "owner": f"{entry.uid}:{entry.gid}", "xattrs": xattrs}

    def diff_snapshots(self, step: Step) -> dict[str, Any]:
        after = treering.scan(self.place(step["after"]))
        if "before" not in step:
            return self.changes(treering.diff(after))
        return self.changes(treering.diff(treering.scan(self.place(step["before"])), after))

    def lowers(self, step: Step) -> list[bytes]:
        return [self.place(name) for name in step.get("lowers", [])]

    def diff_overlay(self, step: Step) -> dict[str, Any]:
        return self.changes(treering.diff_overlay(self.place(step["dir"]), self.lowers(step)))

    def apply_layer(self, step: Step) -> dict[str, Any]:
        tree = self.place(step["dir"])
        os.mkdir(tree)
        made = treering.layer_apply(self.place(step["file"]), tree)
        return {"diff_id": made.layer.diff_id, "losses": len(made.losses)}

    def list_layer(self, step: Step) -> dict[str, Any]:
        def line(one: treering.LayerEntry) -> str:
            path = shown(one.path, one.link)
            return f"{one.kind} {one.mode:04o} {one.uid}:{one.gid} {one.size} {len(one.xattrs)} {path}"

        return {"entries": [line(one) for one in treering.layer_list(self.place(step["file"]))]}

    def documents(self, step: Step) -> dict[str, Any]:
        image = self.store(step).image(step["reference"], platform=step.get("platform"))
        return {
            "id": image.id,
            "digest": image.digest,
            "platform": image.platform,
            "size": image.size,
            "manifest": hashlib.sha256(image.manifest_bytes).hexdigest(),
            "config": hashlib.sha256(image.config_bytes).hexdigest(),
        }

    def history(self, step: Step) -> dict[str, Any]:
        def line(row: treering.HistoryRow) -> str:
            facts = (row.id, row.created, row.size, row.diff_size, row.diff_id)
            text = " ".join("-" if fact is None else str(fact) for fact in facts)
            return f"{text} {row.created_by}|{row.comment}"

        return {"rows": [line(row) for row in self.store(step).image(step["reference"]).history()]}

    def prune(self, step: Step) -> dict[str, Any]:
        done = self.store(step).prune(**step.get("options", {}))
        return {
            "images": done.images,
            "blobs": done.blobs,
            "layers": len(done.layers),
            "untagged": done.untagged,
            "forgotten": len(done.forgotten),
        }

    def usage(self, step: Step) -> dict[str, Any]:
        def line(one: treering.ImageUsage) -> str:
            return f"{','.join(one.names)} {one.digest} {one.size} {one.shared} {one.unique} {one.layers}"

        used = self.store(step).usage()
        numbers = {name: getattr(used, name) for name in ("blobs", "blob_bytes", "reclaimable", "trees")}
        return {"images": [line(one) for one in used.images], **numbers}

    def info(self, step: Step) -> dict[str, Any]:
        facts = self.store(step).info()["store"]
        return {"images": facts["images"], "trees": facts["trees"]}

    def failing_export(self, step: Step) -> dict[str, Any]:
        self.store(step).export(step["reference"], Failing())
        return {}

    def failing_load(self, step: Step) -> dict[str, Any]:
        self.store(step).load(Failing())
        return {}

    def commit(self, step: Step, **more: Any) -> dict[str, Any]:
        options = dict(step.get("options", {}), lowers=self.lowers(step))
        tree, name = self.place(step["dir"]), step.get("reference")
        image = self.store(step).commit(tree, name, **options, **more)
        made = image.committed
        assert made is not None
        return {
            "manifest": image.digest,
            "image_id": image.id,
            "layer_diff_id": made.layer.diff_id if made.layer else "",
            "layer_digest": made.layer.digest if made.layer else "",
            "added": made.stat.added,
            "changed": made.stat.changed,
            "deleted": made.stat.deleted,
        }

    def cancelled_commit(self, step: Step) -> dict[str, Any]:
        return self.commit(step, progress=lambda _: True)

    def unpack(self, step: Step) -> dict[str, Any]:
        tree = self.store(step).unpack(
            step["reference"], self.place(step["dir"]), platform=step.get("platform")
        )
        return {
            "manifest": tree.image.digest,
            "entries": tree.unpacked.entries,
            "losses": len(tree.unpacked.losses),
        }

    def clone(self, step: Step) -> dict[str, Any]:
        tree = self.store(step).clone(self.place(step["dir"]), self.place(step["to"]))
        return {"manifest": tree.image.digest, "entries": tree.unpacked.entries}

    def checkout(self, step: Step) -> dict[str, Any]:
        made = self.store(step).checkout(step["reference"], self.place(step["dir"]), **step.get("options", {}))
        letters = {"added": "A", "changed": "C", "deleted": "D"}
        changes = [f"{letters[kind]} {shown(path, None)}" for kind, path in made.changes]
        return {"manifest": made.image.digest, "removed": made.removed, "changes": changes}

    def path_in_image(self, step: Step) -> treering.ImagePath:
        return self.store(step).image(step["reference"]).path("/" + os.fsdecode(unescape(step["path"])))

    def list_files(self, step: Step) -> dict[str, Any]:
        def line(path: treering.ImagePath) -> str:
            stat = path.lstat()
            link = stat.st_mode & 0o170000 == 0o120000
            kind = "symlink" if link else "directory" if path.is_dir() else "file"
            target = str(path.readlink()) if link else None
            return f"{kind} {stat.st_mode & 0o7777:04o} {stat.st_size} {shown(str(path.parent.resolve() / path.name)[1:], target)}"

        return {"entries": [line(path) for path in self.path_in_image(step).iterdir()]}

    def read_file(self, step: Step) -> dict[str, Any]:
        return {"sha256": hashlib.sha256(self.path_in_image(step).read_bytes()).hexdigest()}

    @staticmethod
    def changes(diff: treering.Diff) -> dict[str, Any]:
        return {"changes": [f"{change.letter} {escape(change.path)}" for change in diff]}

    def diff_tree(self, step: Step) -> dict[str, Any]:
        return self.changes(self.store(step).diff(self.place(step["dir"]), base=step.get("base")))

    def diff_trees(self, step: Step) -> dict[str, Any]:
        before, after = self.place(step["before"]), self.place(step["after"])
        return self.changes(treering.diff(before, after, compare="content", owner="root"))

    def diff_images(self, step: Step) -> dict[str, Any]:
        store = self.store(step)
        after = store.image(step["after"])
        if "before" in step:
            return self.changes(treering.diff(store.image(step["before"]), after))
        return self.changes(treering.diff(after))

    def write_layer(self, step: Step) -> dict[str, Any]:
        diff = treering.diff(self.place(step["dir"]), owner="root")
        file = self.place(step["file"]) if "file" in step else io.BytesIO()
        made = treering.layer_create(diff, file, **step.get("options", {}))
        names = ("diff_id", "digest", "diff_size", "size", "entries")
        return {name: getattr(made, name) for name in names}

    def layers(self, step: Step) -> dict[str, Any]:
        image = self.store(step).image(step["reference"])
        return {"layers": [f"{layer.diff_id} {layer.digest} {layer.size}" for layer in image.layers]}

    def inspect(self, step: Step) -> dict[str, Any]:
        found = self.store(step).image(step["reference"], platform="linux/arm64").inspect()
        return {name: found[name] for name in ("Id", "Author", "Architecture", "Os")}

    def refs(self, step: Step) -> dict[str, Any]:
        return {"refs": [f"{ref.name or '-'} {ref.digest}" for ref in self.store(step).refs()]}

    def resolve(self, step: Step) -> dict[str, Any]:
        return {"digest": self.store(step).resolve(step["reference"])}

    def tag(self, step: Step) -> dict[str, Any]:
        self.store(step).tag(step["reference"], step["name"])
        return {}

    def untag(self, step: Step) -> dict[str, Any]:
        self.store(step).untag(step["name"])
        return {}

    def remove(self, step: Step) -> dict[str, Any]:
        self.store(step).remove(step["reference"])
        return {}

    def fsck(self, step: Step) -> dict[str, Any]:
        return {"problems": len(self.store(step).fsck().problems)}

    def sha256(self, step: Step) -> dict[str, Any]:
        with open(self.place(step["file"]), "rb") as file:
            return {"sha256": hashlib.sha256(file.read()).hexdigest()}

    def save(self, step: Step) -> dict[str, Any]:
        self.store(step).save(step["references"], self.place(step["file"]), format=step["format"])
        return self.sha256(step)

    def load(self, step: Step) -> dict[str, Any]:
        loaded = self.store(step).load(self.place(step["file"]), names=step.get("names", "keep"))
        return {"loaded": [f"{one.name or '-'} {one.id}" for one in loaded]}

    def export(self, step: Step) -> dict[str, Any]:
        source = step["reference"] if "reference" in step else self.place(step["dir"])
        self.store(step).export(source, self.place(step["file"]))
        return self.sha256(step)

    def import_(self, step: Step) -> dict[str, Any]:
        file, name = self.place(step["file"]), step.get("reference")
        image = self.store(step).import_(file, name, **step.get("options", {}))
        assert image.committed is not None and image.committed.layer is not None
        return {
            "manifest": image.digest,
            "image_id": image.id,
            "layer_diff_id": image.committed.layer.diff_id,
            "layer_digest": image.committed.layer.digest,
        }


setattr(Runner, "import", Runner.import_)


def cases() -> list[Any]:
    table = json.loads(TABLE.read_text())
    assert table["format"] == 1
    return [pytest.param(case["steps"], id=case["name"]) for case in table["cases"]]


@pytest.mark.parametrize("steps", cases())
def test_parity(steps: list[Step], tmp_path: pathlib.Path) -> None:
    runner = Runner(tmp_path)
    for number, step in enumerate(steps):
        result = runner.run(step)
        expect = step["expect"]
        assert "error" not in result or "error" in expect, f"step {number}, {step['op']}: {result}"
        for name, value in expect.items():
            assert result.get(name) == value, f"step {number}, {step['op']}: {name}, in {result}"
