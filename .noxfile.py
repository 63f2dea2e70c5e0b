"""The few commands of this project, the same for a person and for CI: `nox -f .noxfile.py -l` lists them.

They run in the virtual environment that nox is in, so that there is one list of versions and all works offline.
"""

import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "imports", "types", "migrations", "tests"]

HERE = Path(sys.executable).parent


def run(session: nox.Session, program: str, *arguments: str) -> None:
    """Run a program of this environment."""
    session.run(str(HERE / program), *arguments, *session.posargs, external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the suite; DATABASE_URL picks another database than SQLite."""
    run(session, "python", "-m", "pytest")


@nox.session
def long(session: nox.Session) -> None:
    """Run what takes too long for CI: more rows, more callers, and the whole benchmarks."""
    run(session, "python", "-m", "pytest", "-m", "long", "tests/admin", "tests/api", "tests/test_benchmarks.py")


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the suite on SQLite and report which branches it leaves out; fails below the limit in pyproject.toml."""
    run(session, "python", "-m", "pytest", "-n", "auto", "--cov", "--cov-report=", "--ignore=tests/browser")
    session.run(str(HERE / "coverage"), "report", external=True)


@nox.session
def browser(session: nox.Session) -> None:
    """Go through the admin in Chromium; NATEQ_PICTURES names a directory for pictures of its screens."""
    run(session, "python", "-m", "pytest", "-m", "browser", "tests/browser")


@nox.session
def lint(session: nox.Session) -> None:
    """Look for mistakes and for code that is formatted differently."""
    run(session, "ruff", "check", ".")
    run(session, "ruff", "format", "--check", ".")


@nox.session
def imports(session: nox.Session) -> None:
    """Hold the rooms to what they may import."""
    run(session, "lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types."""
    run(session, "mypy")


@nox.session
def migrations(session: nox.Session) -> None:
    """Look for a change of the models without its migration."""
    run(session, "python", "manage.py", "makemigrations", "--check", "--dry-run")


@nox.session
def build(session: nox.Session) -> None:
    """Build the package into `dist`."""
    run(session, "python", "-m", "build", "-q", "--outdir", "dist", ".")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Measure requests and runs per second; benchmarks/README.md explains the options after `--`."""
    run(session, "python", "-m", "benchmarks")
