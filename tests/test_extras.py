"""Which packages the extras install, read from the markers in pyproject.toml."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent

SUPPORTED = [
    ("3.11", "5.2"),
    ("3.12", "5.2"),
    ("3.13", "5.2"),
    ("3.12", "6.0"),
    ("3.13", "6.0"),
    ("3.13", "6.1"),
]
"""Python and Django together; Django 6 needs Python 3.12, and brings django.tasks, which Django 5.2 lacks."""


def installed(extra: str, python: str) -> set[str]:
    """Return the names of the packages that an extra installs; a marker knows Python's version, but not Django's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = set()
    for line in project["optional-dependencies"][extra]:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"python_version": python, "extra": extra}):
            nested = requirement.extras if requirement.name == project["name"] else ()
            found |= {requirement.name, *(name for each in nested for name in installed(each, python))}
    return found


@pytest.mark.parametrize(("python", "django"), SUPPORTED, ids=lambda value: str(value))
@pytest.mark.parametrize("extra", ["tasks", "all", "dev"])
def test_the_backport_of_tasks_is_installed_with_each_django_that_lacks_them(
    extra: str, python: str, django: str
) -> None:
    assert ("django-tasks" in installed(extra, python)) or django != "5.2"
    assert "django-tasks-db" in installed(extra, python)


def test_the_supported_versions_are_those_of_the_classifiers() -> None:
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    for kind, place in (("Programming Language :: Python", 0), ("Framework :: Django", 1)):
        versions = {line.rpartition(" :: ")[2] for line in classifiers if line.startswith(f"{kind} :: ")}
        assert {version for version in versions if "." in version} == {pair[place] for pair in SUPPORTED}
