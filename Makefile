# The front door. Each target does all of its own set-up on a Debian machine that has python3, make and git.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# sipguard as a wheel installs it, with the packet's way compiled; the checkout itself stays pure Python.
BUILT  := build/compiled
SOURCES := pyproject.toml hatch_build.py $(shell find sipguard -name '*.py' -o -name '*.lark')
COMPILED := env PYTHONPATH=$(CURDIR)/$(BUILT):$(CURDIR) $(BIN)/python -P

# What the kernel side compiles against and drives.
SYSTEM_PACKAGES := python3-venv python3-dev gcc libc6-dev libnetfilter-queue-dev libnfnetlink-dev \
                   libcap2-bin nftables iptables iproute2 ethtool
# Third-party SIP programs for the demo and the end-to-end tests.
CLIENT_PACKAGES := sip-tester baresip-core tcpdump openssl gnutls-bin libsrtp2-1
# What sites receive records with, for the tests of feeds; their services are not started.
SITE_PACKAGES   := rsyslog sngrep tshark prometheus fail2ban
# One telephone more, for ZRTP; the demo goes on without it.
ZRTP_PACKAGES   := linphone-cli
# A browser for the pages, its fonts, and what checks the systemd units.
PAGE_PACKAGES   := chromium fonts-dejavu-core systemd
# A rival to measure against; `make bench` goes on without it.
BENCH_PACKAGES  := kamailio

.PHONY: help demo demo-web pictures test check bench format clean
help:
	@echo "make demo    place real calls through a real gateway in network namespaces"
	@echo "make demo-web  the calls of the demo on the page for reviewers, until Ctrl-C"
	@echo "make pictures  take the README's pictures of the pages anew"
	@echo "make test    run the whole test suite"
	@echo "make check   ruff, format check, mypy --strict"
	@echo "make bench   measure CPU per message, calls/s, latency, memory, and what proofs cost"

$(STAMP): pyproject.toml demo/install.sh
	@sh demo/install.sh "$(PYTHON)" "$(VENV)" "$(SYSTEM_PACKAGES)"
	@touch $@

$(BUILT)/.built: $(STAMP) $(SOURCES)
	@echo "compiling sipguard into $(BUILT) (some minutes)"
	@rm -rf $(BUILT)
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --target $(BUILT) .
	@touch $@

demo: $(STAMP)
	@sh demo/install.sh --packages "$(CLIENT_PACKAGES)"
	@sh demo/install.sh --packages --optional "$(ZRTP_PACKAGES)"
	@$(BIN)/python -m demo

demo-web: $(STAMP)
	@$(BIN)/python -m demo.web

pictures: $(STAMP)
	@sh demo/install.sh --packages "$(PAGE_PACKAGES)"
	SIPGUARD_PICTURES=refresh $(BIN)/python -m pytest -q tests/web/test_pictures.py

test: $(STAMP)
	@sh demo/install.sh --packages "$(CLIENT_PACKAGES) $(SITE_PACKAGES) $(PAGE_PACKAGES)"
	@sh demo/install.sh --packages --optional "$(ZRTP_PACKAGES)"
	$(BIN)/python -m pytest
	@$(MAKE) --no-print-directory $(BUILT)/.built
	@echo "once more, compiled, without the kernel"
	$(COMPILED) -m pytest -m "not kernel"

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP) $(BUILT)/.built
	@sh demo/install.sh --packages "$(CLIENT_PACKAGES)"
	@sh demo/install.sh --packages --optional "$(BENCH_PACKAGES)"
	@$(COMPILED) -m bench

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
