#!/usr/bin/env bash
# usage: tests/lint.sh
#
# Lints all but Rust: the words of STYLE.md, shell, Python, Go, C and spelling, with the tools that tests/setup.sh put into target/venv.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/target/venv/bin
files() { git ls-files -z -- "$@"; }

python3 tests/words.py
files '*.sh' .ci/run .ci/release | xargs -0 "$bin/shellcheck"
"$bin/ruff" check --quiet .
"$bin/typos" --quiet || { "$bin/typos" --format brief; exit 1; }
unformatted=$(gofmt -l bindings/go examples/go)
[ -z "$unformatted" ] || { echo "gofmt: $unformatted"; exit 1; }
files '*.c' '*.cc' 'tests/c/*.h' | xargs -0 "$bin/clang-format" --dry-run --Werror
