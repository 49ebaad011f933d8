#!/usr/bin/env bash
# usage: tests/c/examples.sh NAME SCRATCH COMMAND...
#
# Runs an example as its comment says and looks at what it did.
set -euo pipefail
name=$1 scratch=$2
shift 2
dir=$(mktemp -d "$scratch/XXXXXX")
cd "$dir"
export TREERING_ROOT=$dir/store
case $name in
  make_image)
    mkdir rootfs
    echo hello >rootfs/hello
    "$@" rootfs app:v1 | grep -Eq '^sha256:[0-9a-f]{64}$'
    grep -q app:v1 store/oci/index.json
    ;;
  diff_trees)
    mkdir -p a/d
    echo 1 >a/d/f
    cp -a a b
    echo 22 >b/d/f
    echo new >b/new
    rm -f got
    "$@" a b >got
    diff got - <<<$'C /d\nC /d/f\nA /new'
    "$@" a a >got
    diff got /dev/null
    ;;
  checkpoint)
    mkdir work
    "$@" work steps 'echo 1 >a' 'echo 2 >b' 'rm a; echo 3 >>b' >got
    [ "$(grep -c '^steps:' got)" = 4 ]
    [ ! -e work/a ] && [ "$(cat work/b)" = $'2\n3' ]
    "$@" --back work steps:2 >/dev/null
    [ "$(cat work/a)" = 1 ] && [ "$(cat work/b)" = 2 ]
    [ "$(echo *)" = 'got store work' ]
    ;;
  *)
    echo "no test for example $name" >&2
    exit 1
    ;;
esac
