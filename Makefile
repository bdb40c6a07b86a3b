# `make` lists the targets. All paths are relative, so the path of the clone may contain a blank.

PY := .venv/bin/python
INSTALLED := .venv/.installed
# What the website alone needs, apart from all else: website/requirements.txt.
SITE := .venv/website/.installed
# The names are tried in this order; `make PYTHON=… venv` names another.
PYTHONS := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)

# A virtual environment contains its own path: after the tree has moved, it is made again.
ifneq ($(shell [ "$$(cat $(INSTALLED) 2>/dev/null)" = "$$(pwd -P)" ] || echo elsewhere),)
.PHONY: $(INSTALLED)
endif

.DEFAULT_GOAL := help
.PHONY: help demo unit e2e test check format generate parts venv bench bench-compare soak outages chaos image test-image sbom site release clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(INSTALLED) ## tell the story of one call on real programs, each step verified
	@$(PY) -m sandbox.demo $(ARGS)

unit: $(INSTALLED) ## run the tests that need no real program (half a minute; ARGS="-k name" for some)
	@$(PY) -m pytest -n auto -m "not real" $(ARGS)

e2e: $(INSTALLED) $(SITE) parts ## run the tests on the real programs: etcd, kube-apiserver, LiveKit, Redis
	@$(PY) -m pytest -n 3 --dist loadgroup -m real $(ARGS)

test: $(INSTALLED) $(SITE) parts ## run all tests: unit and e2e
	@$(PY) -m pytest -n 3 --dist loadgroup $(ARGS)

check: $(INSTALLED) ## format, lint, types, import contracts, workflows, generated files, CRDs against the last release
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	.venv/bin/lint-imports --no-logo
	.venv/bin/hadolint Dockerfile
	$(PY) -m release workflows
	$(PY) -m controller.generate --check
	$(PY) -m sandbox.manifests --check
	$(PY) -m release crds

format: $(INSTALLED) ## format the code, and fix what ruff can fix
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

generate: $(INSTALLED) ## write the files that are made from the code: CRDs, chart, manifests, docs/reference
	$(PY) -m controller.generate
	$(PY) -m sandbox.manifests

parts: $(INSTALLED) ## build or find the real programs, once per user
	@$(PY) -m sandbox parts build

bench: $(INSTALLED) parts ## measure against the floor and an idiomatic kopf operator
	@$(PY) -m benchmarks $(ARGS)

bench-compare: $(INSTALLED) parts ## this tree against another revision, in turns on one stack (REV=main ARGS="--only cycles")
	@$(PY) -m benchmarks.compare $(REV) $(ARGS)

soak: $(INSTALLED) parts ## 20 000 calls and a day of outages: is the operator flat? (ARGS="--cycles 2000 --outages 12")
	@$(PY) -m benchmarks.soak $(ARGS)

outages: $(INSTALLED) parts ## thirty calls outlive outages of a minute, a thousand Matches a killed operator
	@ROOMKEEPER_TEST_OUTAGE_SECONDS=60 ROOMKEEPER_TEST_BULK_MATCHES=1000 $(PY) -m pytest \
		tests/e2e/disturbed/test_calls_in_outages.py tests/e2e/disturbed/test_bulk.py $(ARGS)

chaos: $(INSTALLED) parts ## 1 000 random faults in ten minutes of calls leave nothing behind (ARGS="--seed 7 --seconds 60 --faults 100")
	@$(PY) -m tests.chaos $(ARGS)

image: $(INSTALLED) ## build the operator's image with docker, podman or buildah (ARGS="TAG")
	@$(PY) -m sandbox.image build $(ARGS)

test-image: $(INSTALLED) parts ## build and run the real image on Debian, as root; no registry is needed
	@$(PY) -m pytest -s tests/image/build_and_run.py tests/installed/with_image.py $(ARGS)

sbom: $(INSTALLED) ## write what the image contains as CycloneDX: build/roomkeeper.cdx.json
	@$(PY) -m sandbox.image sbom

site: $(INSTALLED) $(SITE) ## make the website of docs/ in build/site; a warning is an error, no network is needed
	@$(PY) -m website $(ARGS)

release: $(INSTALLED) ## print the steps of a release and check them: make release VERSION=1.2.3; changes nothing
	@$(PY) -m release check $(VERSION) $(ARGS)

venv: $(INSTALLED) ## make .venv with the versions of constraints.txt

$(INSTALLED): pyproject.toml constraints.txt
	@python=; \
	for name in $(PYTHONS); do \
		if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "Python 3.11 or newer was not found (tried: $(PYTHONS)). Install it, or name it: make PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi; \
	if [ -s $(INSTALLED) ] && [ "$$(cat $(INSTALLED))" != "$$(pwd -P)" ]; then rm -rf .venv; fi; \
	if ! $(PY) -m pip --version >/dev/null 2>&1; then \
		echo "  … .venv                      created with $$("$$python" --version)"; \
		"$$python" -m venv --clear .venv || { \
			echo "$$python cannot create a virtual environment; on Debian, install the package python3-venv." >&2; \
			exit 1; }; \
	fi; \
	echo "  … .venv                      installing the versions of constraints.txt (a minute, once)"
	@PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
		$(PY) -m pip install --quiet --disable-pip-version-check --no-input --editable '.[sandbox,tracing,dev]'
	@pwd -P > $(INSTALLED)
	@echo "  ✓ .venv                      roomkeeper is .venv/bin/roomkeeper"

# Of mermaidx the website has the script alone, so what its Python code needs is left out.
$(SITE): $(INSTALLED) website/requirements.txt constraints.txt
	@echo "  … .venv/website              installing what the website needs (some seconds, once)"
	@rm -rf $(@D)
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-input --constraint constraints.txt --target $(@D) \
		--requirement website/requirements.txt
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-input --constraint constraints.txt --target $(@D) \
		--no-deps --upgrade mermaidx
	@touch $@

clean: ## remove what the other targets have made here; the programs in the user's cache stay
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
