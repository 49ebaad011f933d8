"""Print what is different between two directories: names, content, modes, owners, times, attributes.

usage: diff_trees.py OLD NEW
"""

import sys

import treering

diff = treering.diff(sys.argv[1], sys.argv[2], owner="keep")
for change in diff:
    why = f"  ({', '.join(change.reasons)})" if change.reasons else ""
    print(f"{change}{why}")
print(f"{diff.stat.added} added, {diff.stat.changed} changed, {diff.stat.deleted} deleted", file=sys.stderr)
