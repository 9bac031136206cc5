# Two commands: `make demo` and `make test`. Each installs all it needs by itself (Debian, as root).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := docker.io mmdebstrap debian-archive-keyring python3-venv openssh-client ca-certificates iproute2 procps iptables btrfs-progs
# what only the tests and the benchmarks need
# (a Node.js that is not Debian's brings its own npm, and Debian's would not go beside it)
LDAP_PACKAGES := slapd python3-ldap
# real servers of monitoring, and promtool, which tests rules
MONITORING_PACKAGES := victoria-metrics prometheus-alertmanager prometheus libjs-chart.js influxdb
# a registry of images, and what brings and unpacks them
REGISTRY_PACKAGES := docker-registry skopeo umoci zstd squashfs-tools
TEST_PACKAGES := postgresql libscitokens0 bubblewrap qemu-system-x86 cpio $(LDAP_PACKAGES) $(MONITORING_PACKAGES) $(REGISTRY_PACKAGES) openssh-server rsync oidc-agent-cli chromium $(if $(shell command -v npm),,nodejs npm)
# a process for each core, up to four; of what waits for servers, in lanes (tests/lanes.py), more than cores
PARALLEL := -n auto --maxprocesses 4 --dist loadfile
LANES := -n 3 --dist loadscope --no-loadscope-reorder
# of what brings up whole facilities, no more than cores
SANDBOXES := -n 2 --dist loadscope --no-loadscope-reorder
BENCH_PACKAGES := wrk $(LDAP_PACKAGES)

# some images set it: every `farmlet` would then compile all of its modules anew, which takes longer than most of its verbs
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test setup lint unit contract service facility soak bench docs clean

demo: setup  ## the sandbox, and a new member's first analysis in it
	$(BIN)/farmlet up
	$(BIN)/farmlet demo

test: setup lint unit  ## everything, from lint to the sandbox
	tools/packages $(TEST_PACKAGES)
	# apart: Chromium gives up what it loads when a container's network comes or goes
	$(BIN)/pytest -q $(LANES) --durations=15 tests/service
	$(BIN)/pytest -q $(SANDBOXES) --durations=30 tests/contract tests/facility

setup: $(VENV)/.ready  ## what this machine needs: Debian packages, the Python environment of the lock file

$(VENV)/.ready: uv.lock pyproject.toml
	tools/packages $(PACKAGES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r src/farmlet/engine/images/installer.txt
	$(BIN)/uv sync --quiet --frozen --python $(BIN)/python
	touch $@

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

unit: setup
	$(BIN)/pytest -q $(PARALLEL) tests/unit

contract: setup
	$(BIN)/pytest -q tests/contract

service: setup
	tools/packages $(TEST_PACKAGES)
	$(BIN)/pytest -q $(LANES) --durations=15 tests/service

facility: setup
	tools/packages $(LDAP_PACKAGES) $(REGISTRY_PACKAGES) chromium
	$(BIN)/pytest -q $(SANDBOXES) --durations=30 tests/facility

soak: setup  ## what takes long or is left to chance
	tools/packages $(TEST_PACKAGES)
	$(BIN)/pytest -q -m soak --durations=0 tests

bench: setup  ## every figure of docs/reference/performance.md
	tools/packages $(BENCH_PACKAGES)
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

docs: setup  ## the generated reference
	$(BIN)/python -m tools.reference
	$(BIN)/python -m tools.dashboards

clean:  ## remove the sandbox and the environment
	test ! -x $(BIN)/farmlet || $(BIN)/farmlet down --purge
	rm -rf $(VENV)
