# `make book`, `make pdf`, `make test`, `make test-browser`, `make address`: each creates .venv first and installs everything it needs.
PYTHON = python3
PRESET = laptop
RECORDED = yes
CORES = all

# The caller's environment must not choose the code that runs here.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP JUPYTER_PATH

PY = .venv/bin/python
INSTALLED = .venv/installed
RELEASE = .venv-release/installed
LINUX_ONLY = cuda-|nvidia-|triton==

# What the engine imports and a machine with PyTorch, timm, seaborn and scikit-learn may lack.
GPU_PYTHON = 3.12
GPU_WHEELS = annotated-types cloudpickle lazy-loader loky platformdirs pydantic pydantic_core tabulate typing-inspection

.PHONY: book pdf test test-browser address dist release lock gpu-wheels clean

book: $(INSTALLED)
	$(PY) -m snakemake --cores $(CORES) --config preset=$(PRESET) recorded=$(RECORDED)
	@echo "The book: $(CURDIR)/_build/html/index.html"

pdf: $(INSTALLED)
	@command -v latexmk > /dev/null && command -v xelatex > /dev/null || { echo \
	    "The PDF needs LaTeX. On Debian: apt-get install latexmk texlive-xetex texlive-latex-extra texlive-fonts-extra fonts-dejavu"; exit 1; }
	$(PY) -m snakemake --cores $(CORES) --config preset=$(PRESET) recorded=$(RECORDED) -- pdf
	@echo "The book as a PDF: $(CURDIR)/_build/latex/taskhead.pdf"

test: $(INSTALLED)
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m pyright --pythonpath $(PY)
	.venv/bin/lint-imports --no-logo
	$(PY) -m pytest -ra

# Every page of the book in Chromium (Debian's package), as a reader meets it.
test-browser: book
	$(PY) -m pytest -ra -m browser tests/test_browser.py

# The repository's address, in every notebook: badges, links, and what Colab installs.
address: $(INSTALLED)
	$(PY) workflow/address.py

# What is published, in dist/, checked. Its tools have an environment of their own: cffconvert needs
# an older jsonschema than the book.
dist: $(RELEASE)
	rm -rf dist
	.venv-release/bin/cffconvert --validate
	.venv-release/bin/python -m build --quiet
	.venv-release/bin/python -m twine check --strict dist/*

# The tag of the version in pyproject.toml. To publish, which is a person's act:
# .venv-release/bin/python -m twine upload dist/*, and git push origin vVERSION.
release:
	$(PYTHON) workflow/release.py check
	$(MAKE) dist
	$(PYTHON) workflow/release.py tag

$(RELEASE): Makefile
	$(PYTHON) -m venv .venv-release
	.venv-release/bin/python -m pip install build==1.6.1 twine==7.0.0 cffconvert==2.0.0
	touch $@

$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    "taskhead needs Python 3.11 or newer, $(PYTHON) is %s: make PYTHON=python3.11" % sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	$(PY) -m pip install -r requirements.lock
	$(PY) -m pip install --no-deps -e .
	touch $@

# Newest versions that pyproject.toml admits; torch itself pins what it needs on Linux only.
lock: $(INSTALLED)
	$(PY) -m pip install --upgrade --upgrade-strategy eager -e '.[imagenet,text,lora,notebooks,book,test,browser]'
	$(PY) -m pip freeze --all --exclude-editable --exclude pip --exclude wheel \
	    | grep -Ev '^($(LINUX_ONLY))' > requirements.lock

# Wheels for Linux on x86_64, where nothing can be installed; `benchmarks` unpacks them.
gpu-wheels: $(INSTALLED)
	rm -rf gpu-wheels
	$(PY) -m pip download --dest gpu-wheels --no-deps --only-binary :all: \
	    --python-version $(GPU_PYTHON) --platform manylinux2014_x86_64 \
	    $(foreach name,$(GPU_WHEELS),$$(grep '^$(name)==' requirements.lock))

clean:
	rm -rf _build .snakemake
