# Two commands: `make book` and `make test`. `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
TEACHING := .venv-teaching
NOTEBOOK_FOLDERS := $(wildcard labs chapters)

.DEFAULT_GOAL := help
.PHONY: help book test labs labs-text evidence worker assignments codes grade figures checkpoints rehearsal lint links lock lock-colab licenses clean
.PHONY: python book-installed course-installed teaching-installed

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

book: book-installed ## build the HTML book under _build/html (installs only what the book needs)
	@$(BIN)/jupyter-book build . -W --keep-going -n
	@echo "The book is built. Open this file: $(CURDIR)/_build/html/index.html"

test: course-installed ## install the whole course and run every test, every notebook included
	@$(BIN)/python -m pytest tests $(NOTEBOOK_FOLDERS) --numprocesses 2 --dist loadfile --nbval --nbval-current-env --nbval-sanitize-with tests/sanitize.cfg

labs: course-installed ## run labs/*.py and write labs/*.ipynb with their outputs (LAB=01_pretraining: only that one)
	@$(BIN)/python -m tools.build_labs $(LAB)

labs-text: course-installed ## write changed prose, badge and setup cell into labs/*.ipynb, outputs kept, nothing run (LAB=...)
	@$(BIN)/python -m tools.build_labs --text $(LAB)

evidence: course-installed ## measure again what evidence/ lacks, with every recorded seed (resumable; LAB=..., JOBS=2 or SCHEDULER=tcp://host:8786)
	@$(if $(JOBS),COURSE_JOBS="$(JOBS)") $(if $(SCHEDULER),COURSE_SCHEDULER="$(SCHEDULER)") $(BIN)/python -m tools.build_labs --record $(LAB)

worker: course-installed ## work for a `make evidence` that names the same SCHEDULER=tcp://host:8786 (JOBS=2: two workers)
	@$(BIN)/python -m tools.worker "$(SCHEDULER)" $(JOBS)

assignments: teaching-installed ## build notebooks, solutions and autograders of the assignments (ASSIGNMENT=..., CLASS=class.yml)
	@$(TEACHING)/bin/python -m tools.assignments build $(ASSIGNMENT) $(if $(CLASS),--class "$(CLASS)")

codes: course-installed ## write a code for every student of a class (CLASS=class.yml STUDENTS=students.csv)
	@$(BIN)/python -m tools.assignments codes --class "$(CLASS)" $(if $(STUDENTS),--students "$(STUDENTS)")

grade: course-installed ## grade a folder of notebooks (SUBMISSIONS=folder CLASS=class.yml)
	@$(BIN)/python -m tools.assignments grade --class "$(CLASS)" --submissions "$(SUBMISSIONS)" $(if $(ASSIGNMENT),--assignment $(ASSIGNMENT))

figures: course-installed ## draw the figures of the chapters into assets/figures
	@$(BIN)/python -m tools.make_figures

checkpoints: course-installed ## pretrain the course's own models into checkpoints/ (about 40 minutes on two cores)
	@$(BIN)/python -m tools.make_checkpoints

rehearsal: python ## run one notebook alone, with other versions (NOTEBOOK=labs/NAME.ipynb VERSIONS=colab|newest|locked ENVIRONMENT=folder)
	@"$(PYTHON)" -m tools.rehearse "$(NOTEBOOK)" $(if $(VERSIONS),--versions "$(VERSIONS)") $(if $(ENVIRONMENT),--environment "$(ENVIRONMENT)")

lint: course-installed ## check code and notebooks with ruff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

links: book-installed ## check every external link of the book (needs the network)
	@$(BIN)/jupyter-book build . --builder linkcheck --path-output _build/links

lock: ## make requirements*.txt again from requirements/*.in (needs uv; UPGRADE=1: newest versions)
	@tools/lock.sh

licenses: course-installed ## write requirements/LICENSES.md, the licenses of all locked packages
	@$(BIN)/python -m tools.licenses

lock-colab: ## make requirements/colab.txt again from the versions that Colab publishes (needs uv)
	@tools/lock_colab.sh

clean: ## remove the built book and caches (.venv, labs and evidence stay)
	@rm -rf _build .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

python:
	@command -v "$(PYTHON)" >/dev/null || { echo "No $(PYTHON) found: install Python 3.10 to 3.13, or name it, for example: make book PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 13) else "This course needs Python 3.10 to 3.13, and $(PYTHON) is %d.%d: name another one, for example: make book PYTHON=python3.12" % v)'

book-installed: python
	@"$(PYTHON)" tools/install.py requirements-book.txt

course-installed: python
	@"$(PYTHON)" tools/install.py requirements.txt

teaching-installed: python
	@"$(PYTHON)" tools/install.py requirements-teaching.txt $(TEACHING)
