# Needs Python 3.11 or newer with venv, and make; `make test` also a C compiler for one of the real
# servers. Everything is made inside the checkout. Nothing has to be activated.

PYTHON ?= python3

BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
INPUTS := pyproject.toml $(wildcard README.md LICENSE) \
	$(shell find announcer templates -type f -not -name '*.pyc')

.PHONY: help
help:
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' Makefile

.PHONY: demo
demo: .venv/package ## see it work, with nothing configured
	$(BIN)/announcer demo

.PHONY: test
test: lint .venv/package ## everything that must hold before a change is merged
	PYTHON=$(BIN)/python tests/servers/install
	$(BIN)/python -m pytest -n 3 --dist worksteal # on two cores: a third of it waits

.PHONY: lint
lint: .venv/tools ## format, style, types, and the Dockerfile
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile

.PHONY: faults
faults: .venv/tools ## write docs/faults.md from the names of the tests
	$(BIN)/python -m tests.catalogue

.PHONY: mutants
mutants: .venv/tools ## remove our safeties one at a time: does a test notice?
	$(BIN)/python -m tests.mutants

.PHONY: bench
bench: .venv/tools .venv/package ## measure, and write docs/benchmarks.md; ARGS=--quick looks if it works
	$(BIN)/python -m bench $(ARGS)

.PHONY: pictures
pictures: .venv/tools ## take those of the pages in docs/pictures anew
	$(BIN)/python bench/pictures.py docs/pictures

.PHONY: torture
torture: .venv/tools .venv/package ## kill it hundreds of times; ARGS="--seed 7 --kills 2000"
	$(BIN)/python -m tests.torture $(ARGS)

.PHONY: package
package: .venv/libraries sbom ## wheel, source, bill of materials and licences, into dist/
	$(BIN)/python -m hatchling build -d dist
	cd dist && sha256sum announcer-$(VERSION)* licences.md >SHA256SUMS

.PHONY: sbom
sbom: build/sbom/made ## what the container holds (CycloneDX), and under which licences
	rm -rf dist && mkdir dist
	build/sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		-o dist/announcer-$(VERSION).cdx.json build/sbom/runtime/bin/python
	build/sbom/bin/pip-licenses --python=build/sbom/runtime/bin/python --order=license \
		--format=markdown --with-urls --output-file=dist/licences.md

.PHONY: container
container: .venv/tools ## prove the Dockerfile without a container engine; as root, takes minutes
	$(BIN)/python -m tests.container

.PHONY: lock
lock: build/lock/made ## take the newest of what pyproject.toml allows
	$(COMPILE) -o requirements.lock $(EXTRAS) pyproject.toml
	(sed -n 's/^requires = \["\(.*\)"\]$$/\1/p' pyproject.toml; echo setuptools) | \
		$(COMPILE) --allow-unsafe -o requirements-build.lock -c requirements.lock -
	$(COMPILE) -o requirements-dev.lock -c requirements.lock -c requirements-build.lock \
		--extra dev pyproject.toml
	echo matrix-synapse | $(COMPILE) --allow-unsafe -o tests/servers/synapse.lock -
	echo nostr-relay | $(COMPILE) --allow-unsafe -o tests/servers/nostr.lock -

.PHONY: clean
clean: ## remove what was made here; settings and databases stay
	rm -rf .venv .servers build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv --clear .venv
	@touch $@

# One of the libraries has no wheel. With `isolation` pip would fetch what builds it, and trust it.
.venv/libraries: .venv/made requirements.lock requirements-build.lock
	$(INSTALL) --require-hashes -r requirements-build.lock
	$(INSTALL) --require-hashes --no-build-isolation -r requirements.lock
	@touch $@

.venv/tools: .venv/libraries requirements-dev.lock
	$(INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@

# A plain install and not an editable one: what runs is what a wheel contains.
.venv/package: .venv/libraries $(INPUTS)
	$(INSTALL) --no-deps --no-build-isolation --force-reinstall .
	@touch $@

# As in `all` of pyproject.toml, which names our own package and so can't be locked.
EXTRAS := $(addprefix --extra=,apprise mqtt nostr postgresql tracing webpush xmpp)

# The lock names versions and hashes, and leaves to each machine where it gets them from.
COMPILE := CUSTOM_COMPILE_COMMAND='make lock' build/lock/bin/pip-compile --quiet --upgrade \
	--generate-hashes --strip-extras --no-emit-options

build/lock/made:
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check pip-tools==7.6.2
	@touch $@

VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

# The libraries get an environment of their own, so that nothing else is counted. As in the Dockerfile.
build/sbom/made: requirements.lock requirements-build.lock
	$(PYTHON) -m venv --clear build/sbom
	$(SBOM_PIP) install cyclonedx-bom==7.5.0 pip-licenses==5.5.5
	$(SBOM_PIP) install --require-hashes -r requirements-build.lock
	$(SBOM_PIP) wheel --require-hashes --no-deps --no-build-isolation \
		--wheel-dir build/sbom/wheels -r requirements.lock
	$(PYTHON) -m venv --without-pip build/sbom/runtime
	build/sbom/bin/python -m pip --python build/sbom/runtime/bin/python install --quiet \
		--no-deps --no-index build/sbom/wheels/*.whl
	find build/sbom/runtime -name direct_url.json -delete # the folder of this machine
	@touch $@

SBOM_PIP := build/sbom/bin/python -m pip --quiet --disable-pip-version-check
