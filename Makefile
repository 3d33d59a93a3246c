PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# ruff does not read setup.cfg, so its options stand here.
# D: docstrings on what is public; N, ANN are left to the style guide and to mypy.
RUFF_RULES := E,F,W,I,B,UP,SIM,C4,PIE,PT,RUF,D1,DTZ,ASYNC,S1,T10
# D105, D107: magic methods and __init__ are described by their class.
# S101: asserts are how pytest tests; RUF001-003: quotes of other scripts stand in tests.
RUFF := --line-length 100 --target-version py311 --select $(RUFF_RULES) --ignore D105,D107,S101,RUF001,RUF002,RUF003 --per-file-ignores 'tests/*:D1,tests/*:S1'

# Where `make test-clients` installs the clients: about 2 GB.
CLIENTS := $(or $(KUROL_CLIENTS_CACHE),.cache/clients)

# Where `make test-scale` makes its ledger, once: about 3 GB.
SCALE := $(or $(KUROL_SCALE_CACHE),.cache/scale)

# The browser's files of other people: fetched again by `make vendor`.
VENDORED := kurolproxy/dashboard/static/vendor tests/browser/vendor

# What calls a whole gateway within the test's own process: half of the time of all tests.
CALLS := tests/server tests/pairs

.PHONY: venv demo run install install-program install-files uninstall test test-calls test-rest test-clients test-faults test-scale test-browser soak golden conformance screenshots vendor lint types imports check format clean

venv: $(BIN)/.ready

$(BIN)/.ready: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing: install the package python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(BIN)/.ready-test: $(BIN)/.ready
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@

demo: $(BIN)/.ready
	$(BIN)/kurolproxy demo

run: $(BIN)/.ready
	$(BIN)/kurolproxy serve

# --- as a service of systemd: docs/service.md; DESTDIR is for packagers ---------------------

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR ?= $(SYSCONFDIR)/systemd/system
SYSUSERSDIR ?= $(SYSCONFDIR)/sysusers.d
PROGRAM := $(PREFIX)/lib/kurolproxy
SETTINGS := $(SYSCONFDIR)/kurolproxy
UNITS := kurolproxy.service kurolproxy.socket
GROUP := kurolproxy-config

install: install-program install-files

# Built from a copy: nothing of root's is left in a checkout of somebody else's. Whatever root's
# umask is, the service's user has to read the program.
install-program:
	umask 022; $(PYTHON) -m venv $(DESTDIR)$(PROGRAM)
	set -e; umask 022; copy=$$(mktemp -d); trap 'rm -rf "$$copy"' EXIT; \
	cp -R kurolproxy setup.cfg pyproject.toml README.md LICENSE "$$copy"; \
	$(DESTDIR)$(PROGRAM)/bin/python -I -m pip install --quiet --upgrade "$$copy"

install-files:
	install -d -m 0755 $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(UNITDIR) $(DESTDIR)$(SYSUSERSDIR)
	printf '#!/bin/sh\nexec %s/bin/python -I -m kurolproxy "$$@"\n' $(PROGRAM) > $(DESTDIR)$(PREFIX)/bin/kurolproxy
	chmod 0755 $(DESTDIR)$(PREFIX)/bin/kurolproxy
	for unit in $(UNITS); do \
		sed 's#/usr/local/lib/kurolproxy/#$(PROGRAM)/#; s#/etc/kurolproxy#$(SETTINGS)#' systemd/$$unit \
			> $(DESTDIR)$(UNITDIR)/$$unit; \
		chmod 0644 $(DESTDIR)$(UNITDIR)/$$unit; \
	done
	install -m 0644 systemd/kurolproxy.sysusers $(DESTDIR)$(SYSUSERSDIR)/kurolproxy.conf
	install -d -m 0755 $(DESTDIR)$(SETTINGS)
	install -d -m 0700 $(DESTDIR)$(SETTINGS)/credentials
	test -e $(DESTDIR)$(SETTINGS)/kurolproxy.toml || install -m 0640 \
		config/kurolproxy.example.toml $(DESTDIR)$(SETTINGS)/kurolproxy.toml
	@if [ -z "$(DESTDIR)" ] && command -v systemd-sysusers >/dev/null; then \
		systemd-sysusers $(SYSUSERSDIR)/kurolproxy.conf; \
		chgrp $(GROUP) $(SETTINGS)/kurolproxy.toml; \
		if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi; \
	fi
	@echo "Now: put keys into $(SETTINGS)/credentials, edit $(SETTINGS)/kurolproxy.toml, then: systemctl enable --now kurolproxy"

# Configuration, credentials and state stay.
uninstall:
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then \
		systemctl disable --now $(UNITS) || true; \
	fi
	rm -rf $(DESTDIR)$(PROGRAM)
	rm -f $(DESTDIR)$(PREFIX)/bin/kurolproxy $(addprefix $(DESTDIR)$(UNITDIR)/,$(UNITS)) \
		$(DESTDIR)$(SYSUSERSDIR)/kurolproxy.conf

# Two halves at once, each in a process of its own; what they print comes half by half.
test: $(BIN)/.ready-test
	$(MAKE) --no-print-directory --keep-going --jobs=2 --output-sync=target test-calls test-rest

test-calls: $(BIN)/.ready-test
	$(BIN)/python -m pytest $(CALLS)

test-rest: $(BIN)/.ready-test
	$(BIN)/python -m pytest $(addprefix --ignore=,$(CALLS))

# Real agents and Node SDKs against the gateway: docs/clients.md.
test-clients: $(BIN)/.ready-test $(CLIENTS)/.ready
	KUROL_CLIENTS_CACHE=$(abspath $(CLIENTS)) $(BIN)/python -m pytest tests/clients

# The long forms of the fault tests: real kills, full disks, power cuts: docs/ledger.md.
test-faults: $(BIN)/.ready-test
	KUROL_LONG_FAULTS=1 $(BIN)/python -m pytest tests/faults

# Everything goes wrong at 100 streams for 20 minutes, and nothing may grow.
soak: $(BIN)/.ready-test
	KUROL_SOAK_S=$(or $(KUROL_SOAK_S),1200) $(BIN)/python -m pytest -rP tests/faults/test_soak.py

$(CLIENTS)/.ready: tests/clients/package.json
	@command -v npm >/dev/null || { echo "npm is missing: install the package npm"; exit 1; }
	mkdir -p $(CLIENTS)
	cp tests/clients/package.json $(CLIENTS)/package.json
	cd $(CLIENTS) && npm install --no-package-lock --no-audit --no-fund --loglevel=error
	@touch $@

# The gateway with 100,000 keys and 10,000,000 rows of usage.
test-scale: $(BIN)/.ready-test
	KUROL_SCALE_CACHE=$(abspath $(SCALE)) $(BIN)/python -m pytest -rP tests/scale

# Every page in Chromium, wide and narrow, light and dark, by keyboard; a hundred first starts' worth
# of live usage.
test-browser: $(BIN)/.ready-test
	KUROL_LONG_BROWSER=1 $(BIN)/python -m pytest -rP tests/browser

# The pictures of the README, from a gateway with made-up data.
screenshots: $(BIN)/.ready-test
	$(BIN)/python -m tests.browser.screenshots docs/screenshots

# Fetches the browser's files of other people from npm, as VERSIONS.txt beside them says.
vendor:
	@command -v npm >/dev/null || { echo "npm is missing: install the package npm"; exit 1; }
	kurolproxy/dashboard/static/vendor/refresh.sh $(VENDORED)
	git diff --stat -- $(VENDORED)

# Rewrites the expected files of the codecs; review the difference like code.
golden: $(BIN)/.ready-test
	KUROL_UPDATE_GOLDEN=1 $(BIN)/python -m pytest tests/protocols tests/config -k golden
	git diff --stat -- tests/golden

# Measures every cell of the table and writes it; review a cell that changed like code.
conformance: $(BIN)/.ready-test
	KUROL_UPDATE_CONFORMANCE=1 $(BIN)/python -m pytest tests/pairs/test_conformance.py
	git diff --stat -- docs/conformance.md

lint: $(BIN)/.ready-test
	$(BIN)/ruff check $(RUFF) kurolproxy tests
	$(BIN)/ruff format --line-length 100 --target-version py311 --check kurolproxy tests

format: $(BIN)/.ready-test
	$(BIN)/ruff check $(RUFF) --fix kurolproxy tests
	$(BIN)/ruff format --line-length 100 --target-version py311 kurolproxy tests

types: $(BIN)/.ready-test
	$(BIN)/mypy

imports: $(BIN)/.ready-test
	$(BIN)/lint-imports

check: test lint types imports

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
