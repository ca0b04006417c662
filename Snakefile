"""Studies -> executed notebooks -> staged tree -> book, for one preset.

    snakemake --cores 2 --config preset=smoke

Preset laptop is drawn from the recorded results; `--config recorded=no` computes it again. The linear model
takes seconds, so it is not recorded, and every build computes it. The notebooks of settings that need
downloaded data are drawn from the recorded results in every preset.

Every change of the library or its settings opens a new folder of runs, so no row of an older source reaches
a page, and a killed study loses at most the run it was in. That folder is no output of a rule on purpose:
Snakemake deletes the outputs of an interrupted rule.
"""

import hashlib
import os
import sys
from pathlib import Path

from filelock import FileLock, Timeout

sys.path.insert(0, str(Path(workflow.basedir) / "workflow"))
from repository import edition, repository_url
from taskhead import __version__

PRESET = config.get("preset", "laptop")
PRESETS = ["smoke", "laptop", "gpu", "paper"]
if PRESET not in PRESETS:
    raise WorkflowError(f"unknown preset {PRESET!r}; valid: {', '.join(PRESETS)}")

ANSWER = str(config.get("recorded", "yes")).lower()
if ANSWER not in ("yes", "true", "no", "false"):
    raise WorkflowError(f"recorded must be yes or no, got {ANSWER!r}")
USE_RECORDED = PRESET == "laptop" and ANSWER in ("yes", "true")
COMPUTED = {
    "quickstart": [],
    "your-own-data": [],
    "toy-linear": ["toy_linear/toy", "lazy_limit/toy"],
    "energy-sweep": ["energy_sweep/digits"],
    "feature-geometry": ["feature_geometry/digits"],
    "what-acts": ["crossed/digits"],
    "how-long-to-probe": ["energy_sweep/digits"],
    "label-smoothing": ["label_smoothing/digits", "energy_sweep/digits"],
    "head-capacity": ["head_capacity/digits", "energy_sweep/digits"],
    "initial-head": ["initial_head/digits", "energy_sweep/digits", "crossed/digits"],
    "head-rate": ["head_rate/digits", "energy_sweep/digits"],
    "regime-map": ["recipe_map/digits"],
    "calibration": ["energy_sweep/digits"],
    "learning-dynamics": [
        f"{study}/digits"
        for study in ("one_step", "dynamics", "initial_gradients", "energy_sweep")
    ],
}
RECORDED = ["cifar-probing", "imagenet-probing", "sentences", "partial-backbone", "which-way"]
RECORDED_TABLES = sorted(str(file) for file in Path("results").glob("*/*.*"))
PACKAGE = Path("src/taskhead")
SOURCE = sorted(str(file) for ending in ("py", "yaml") for file in PACKAGE.rglob(f"*.{ending}"))
DRAWING = ("src/taskhead/report/", "src/taskhead/cli.py")
COMPUTING = [file for file in SOURCE if not file.startswith(DRAWING)]
DIGEST = hashlib.sha256(b"\0".join(Path(file).read_bytes() for file in COMPUTING)).hexdigest()[:12]
RUNS = f"_build/runs/{DIGEST}"
RESULTS = f"_build/results/{PRESET}"
EXECUTED = f"_build/notebooks/{PRESET}"
PROSE = f"_build/prose/{PRESET}"
ADDRESS = repository_url(config.get("repository_url"))
PYTHON = sys.executable
BIN = Path(PYTHON).parent
os.environ.pop("MPLBACKEND", None)  # notebooks draw inline, whatever the caller's shell says


def tables(notebook):
    studies = COMPUTED.get(notebook, [])
    if USE_RECORDED and all(f"results/{study}.csv" in RECORDED_TABLES for study in studies):
        return []
    return [f"{RESULTS}/{study}.{ending}" for study in studies for ending in ("csv", "json")]


rule book:
    input:
        "_build/html/index.html",


rule study:
    input:
        COMPUTING,
    output:
        [f"{RESULTS}/{{study}}/{{setting}}.{ending}" for ending in ("csv", "json")],
    params:
        runs=RUNS,
    threads: workflow.cores
    shell:
        "{BIN:q}/taskhead run {wildcards.study} --setting {wildcards.setting}"
        " --preset {PRESET} --results {params.runs} --workers {threads}"
        " && cp {params.runs}/{wildcards.study}/{wildcards.setting}.{{csv,json}}"
        " {RESULTS}/{wildcards.study}"


rule notebook:
    input:
        "notebooks/{name}.ipynb",
        SOURCE,
        RECORDED_TABLES,
        lambda wildcards: tables(wildcards.name),
    output:
        f"{EXECUTED}/{{name}}.ipynb",
    params:
        preset=lambda wildcards: "laptop" if wildcards.name in RECORDED else PRESET,
        results=lambda wildcards: f"-p results {RUNS}" if tables(wildcards.name) else "",
    shell:
        "{BIN:q}/papermill {input[0]} {output} --no-progress-bar -p preset {params.preset} {params.results}"


rule prose:
    input:
        SOURCE,
        RECORDED_TABLES,
        ["workflow/prose.py", "workflow/write_prose.py", "benchmarks/report.py"],
        sorted(map(str, Path("benchmarks/recorded").glob("*.*"))),
        tables("energy-sweep"),
    output:
        [f"{PROSE}/{name}" for name in ("numbers.yaml", "main-figure.png", "every-setting.png", "distances.png")],
    params:
        results="" if USE_RECORDED else f"--results {RESULTS}",
    shell:
        "PYTHONPATH=. {PYTHON:q} workflow/write_prose.py {PROSE} --preset {PRESET} {params.results}"


rule stage:
    input:
        rules.prose.output,
        ["_config.yml", "_toc.yml", *map(str, Path("book").rglob("*.*"))],
        sorted(map(str, Path("workflow").glob("*.py"))),
        expand(f"{EXECUTED}/{{name}}.ipynb", name=[*COMPUTED, *RECORDED]),
    output:
        "_build/stage/_config.yml",
    params:
        repository=ADDRESS or "",
        edition=edition(__version__, address=ADDRESS),  # a new commit shows on every page
    shell:
        "{PYTHON:q} workflow/stage.py --preset {PRESET} --repository-url='{params.repository}'"


rule html:
    input:
        "_build/stage/_config.yml",
    output:
        "_build/html/index.html",
    shell:
        "rm -rf _build/html && {BIN:q}/jupyter-book build _build/stage --path-output ."
        " --all --quiet -W -n --keep-going"
        " && cp _build/downloads/*.ipynb _build/html/_sources/notebooks"


rule pdf:
    input:
        "_build/stage/_config.yml",
    output:
        "_build/latex/taskhead.pdf",
    shell:
        "rm -rf _build/latex && {BIN:q}/jupyter-book build _build/stage --path-output ."
        " --builder pdflatex --all --quiet"


BUILD = FileLock("_build/.lock")


onstart:
    try:
        BUILD.acquire(timeout=0)
    except Timeout:
        print("Another build runs in this folder: waiting for it to end.", file=sys.stderr)
        BUILD.acquire()
