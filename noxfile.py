"""Every task of the project; `nox -l` explains them. One environment serves all (session `env`).

The environment is installed once and stamped with a hash of pyproject.toml and constraints.txt; while the
stamp is current no session touches the package index, so every task also runs without a network.
"""

import hashlib
import shutil
from pathlib import Path

import nox

nox.options.sessions = ["tests"]
nox.options.error_on_missing_interpreters = True

ROOT = Path(__file__).parent
ENV = ROOT / ".nox" / "env"
BIN = ENV / ("Scripts" if (ENV / "Scripts").exists() else "bin")
# what the installed environment and pip's scratch space take, measured on Linux x86-64 with CUDA torch
NEEDED_GIB = 9


def stamp_text() -> str:
    """The state of the files that decide what is installed."""
    parts = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


@nox.session(reuse_venv=True)
def env(session: nox.Session) -> None:
    """Install the shared environment; does nothing while pyproject.toml and constraints.txt are unchanged."""
    for folder in (ENV.parent, ENV):  # kept by `git clean -X -e '!/.nox'` only while nothing in it is ignored
        (folder / ".gitignore").write_text("# the project's own .gitignore names this folder\n")
    stamp = ENV / "installed.sha256"
    if stamp.exists() and stamp.read_text() == stamp_text():
        return
    free = shutil.disk_usage(ROOT).free / 2**30
    if free < NEEDED_GIB and not stamp.exists():
        session.error(f"{free:.1f} GiB are free here; the installation needs {NEEDED_GIB}: make room first")
    session.install("-c", "constraints.txt", "-e", ".[dev]")
    stamp.write_text(stamp_text())


def run(session: nox.Session, program: str, *arguments: str, **variables: str) -> None:
    """Run a program of the shared environment by path."""
    session.run(str(BIN / program), *arguments, env=variables, external=True)


@nox.session(venv_backend="none", requires=["env"])
def ablations(session: nox.Session) -> None:
    """Fig. 10: every variant of VIA on pocket-mini, as picture and table (arguments go to `via ablate`)."""
    run(session, "via", "ablate", *session.posargs)


@nox.session(venv_backend="none", requires=["env"])
def questions(session: nox.Session) -> None:
    """Sweep what the paper leaves open and write the answers into docs/questions.md (-- tuning masks ...)."""
    run(session, "python", "-m", "benchmarks.questions", *session.posargs)


@nox.session(venv_backend="none", requires=["env"])
def tests(session: nox.Session) -> None:
    """The tests, on two processes of one thread each."""
    arguments = ("-m", "pytest", "-n", "2", "-m", "not network", *session.posargs)
    run(session, "python", *arguments, OMP_NUM_THREADS="1")


@nox.session(venv_backend="none", requires=["env"])
def lint(session: nox.Session) -> None:
    """Formatting, lint and types."""
    run(session, "ruff", "format", "--check", ".")
    run(session, "ruff", "check", ".")
    run(session, "mypy")


@nox.session(venv_backend="none", requires=["env"])
def pocket(session: nox.Session) -> None:
    """Train a pocket model: nox -s pocket -- vae|editor|mask|clip|all (resumes from its last checkpoint)."""
    run(session, "via", "models", "train", *(session.posargs or ["all"]))


@nox.session(venv_backend="none", requires=["env"])
def study(session: nox.Session) -> None:
    """A small human study of a pocket run, filled by simulated raters, and its report (-- --run RUN)."""
    folder = Path(session.create_tmp()) / "study-demo"
    shutil.rmtree(folder, ignore_errors=True)
    run(session, "via", "study", "demo", "--out", str(folder), *session.posargs)


@nox.session(venv_backend="none", requires=["env"])
def browser(session: nox.Session) -> None:
    """A whole session of the human study in Chromium (on Debian: apt-get install chromium)."""
    run(session, "python", "-m", "pytest", "tests/human_eval/browser_checks.py", *session.posargs)


@nox.session(venv_backend="none", requires=["env"])
def study_load(session: nox.Session) -> None:
    """The study's server under fifty annotators for two minutes, twice, once killed ten times on the way."""
    run(session, "python", "-m", "pytest", "-s", "tests/human_eval/load_checks.py", *session.posargs)


@nox.session(venv_backend="none", requires=["env"])
def throughput(session: nox.Session) -> None:
    """How fast and in how much memory, as ratios: throughput.json (pytest-benchmark)."""
    arguments = ("-p", "no:xdist", "--benchmark-json", "throughput.json", *session.posargs)
    run(session, "python", "-m", "pytest", "benchmarks/throughput.py", *arguments)
