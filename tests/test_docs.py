"""README and docs as a reader uses them: each block of Python compiles, its imports resolve, each link arrives."""

import ast
import importlib
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "benchmarks/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_OURS = {"shop"}
"""The reader's own package in the examples."""


def blocks() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for number, match in enumerate(re.finditer(r"^( *)```python\n(.*?)^ *```", page.read_text(), re.M | re.S)):
            indent = len(match[1])
            code = "\n".join(line[indent:] for line in match[2].splitlines())
            found.append((f"{page.relative_to(ROOT)}-{number}", code))
    return found


BLOCKS = blocks()


def parsed(code: str) -> ast.Module:
    """Parse a block; one that shows an entry of a dict is read as that."""
    try:
        return ast.parse(code)
    except SyntaxError:
        return ast.parse("{" + code + "}")


@pytest.mark.parametrize("code", [code for _name, code in BLOCKS], ids=[name for name, _code in BLOCKS])
def test_every_block_of_python_compiles_and_its_imports_resolve(code: str) -> None:
    for node in ast.walk(parsed(code)):
        if isinstance(node, ast.Import):
            for each in node.names:
                importlib.import_module(each.name)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] not in NOT_OURS:
            module = importlib.import_module(node.module)
            for each in node.names:
                if not hasattr(module, each.name):
                    importlib.import_module(f"{node.module}.{each.name}")


OF_OTHERS = {"Delete", "Deliveries", "Settings → Developers → Webhooks"}
"""Labels of Django's and Nateq's, and headings that Django makes of a model's name."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_label_of_the_admin_is_spelled_as_the_admin_shows_it(page: Path) -> None:
    """Labels are in italics, and begin with a capital letter."""
    catalogue = (ROOT / "nateq_webhooks/locale/ar/LC_MESSAGES/django.po").read_text()
    known = set(re.findall(r'^msgid(?:_plural)? "(.+)"$', catalogue, re.M)) | OF_OTHERS
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.S)

    labels = {" ".join(label.split()) for label in re.findall(r"(?<![*\w])\*([A-Z][^*]+?)\*(?![*\w])", text)}

    assert labels <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_page_and_a_heading(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith(("http:", "https:")):
            continue
        name, _hash, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


def test_every_page_is_linked_from_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link).resolve() for link in re.findall(r"\]\(([^)#:]+)", index.read_text())}

    assert set(PAGES) - {index, ROOT / "README.md"} <= linked


def test_the_changelog_has_each_section_and_entry_once() -> None:
    """Two branches that both change it are merged by keeping the lines of both."""
    text = (ROOT / "CHANGELOG.md").read_text()
    beginnings = re.findall(r"^(?:- .{40}|#+ .*)", text, re.MULTILINE)

    assert len(beginnings) > 100
    assert [one for one in beginnings if beginnings.count(one) > 1] == []


def test_the_architecture_names_modules_that_exist() -> None:
    named = re.findall(r"`([a-z_/]+(?:/|\.py))`", (ROOT / "docs" / "architecture.md").read_text())

    assert len(named) > 40
    assert [path for path in named if not (ROOT / "nateq_webhooks" / path).exists()] == ["nateq_webhooks/"]


def test_the_architecture_has_the_layers_of_the_import_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    text = (ROOT / "docs" / "architecture.md").read_text().partition("## The modules")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE)

    assert [set(re.findall(r"`(\w+)`", row)) for row in reversed(rows)] == [
        set(re.split(r" \| ", row)) for row in layers
    ]


def headings(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def strings_that_users_meet(source: str) -> list[str]:
    """Return a module's strings, f-strings and joined ones as a whole, without its docstrings."""
    module = ast.parse(source)
    documentation = {
        id(node.value)
        for node in ast.walk(module)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        node.value
        for node in ast.walk(module)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
    ]


IN_THE_REPOSITORY_ONLY = re.compile(r"\bdocs/|\.md\b|\bREADME\b|\bexample_project\b")


def test_no_message_names_a_file_that_the_wheel_lacks() -> None:
    texts = {
        path: strings_that_users_meet(path.read_text()) if path.suffix == ".py" else [path.read_text()]
        for path in (ROOT / "nateq_webhooks").rglob("*")
        if path.suffix in {".py", ".html", ".js"}
    }

    assert sum(map(len, texts.values())) > 5000
    assert not [
        (path.name, text) for path, found in texts.items() for text in found if IN_THE_REPOSITORY_ONLY.search(text)
    ]


@pytest.mark.parametrize(
    "source", ["f'see docs/{page}'", "fail('See' ' README.')", "class A:\n    help: str = 'docs/how-to/workers.md'"]
)
def test_a_message_with_a_file_would_be_found(source: str) -> None:
    assert any(IN_THE_REPOSITORY_ONLY.search(text) for text in strings_that_users_meet(source))


def test_the_pages_that_messages_name_are_there() -> None:
    titles = {page.read_text().partition("\n")[0].removeprefix("# ") for page in PAGES}
    named = {
        title
        for path in (ROOT / "nateq_webhooks").rglob("*.py")
        for text in strings_that_users_meet(path.read_text())
        for title in re.findall(r'"([^"]+)" in the project\'s documentation', text)
    }

    assert named
    assert named <= titles
