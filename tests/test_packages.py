"""Which package may import which: data flows one way, from common to report."""

import ast
import re
from functools import cache

import pytest
from helpers import ROOT

SOURCE = ROOT / "src/oneshot"
# docs/code.md has the whole rule: packages, and those that they may import, beside `common`.
ROWS = re.findall(r"^\| \[`(\w+)`\]\(.+?\) \| .+ \| ([`\w, ]*)\|$", (ROOT / "docs/code.md").read_text(), re.MULTILINE)
MAY_IMPORT = {name: re.findall(r"\w+", may) for name, may in ROWS}


@cache
def imports(path):
    """Modules of the project that a file imports, also inside functions, such as `data.split`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            assert not isinstance(node, ast.ImportFrom), f"{path}: write imports out"
            continue
        found |= {name.removeprefix("oneshot.") for name in names if name.startswith("oneshot.")}
    return {name for name in found if (SOURCE / f"{name.replace('.', '/')}.py").exists()}


def test_packages_are_those_of_the_table_and_say_in_two_lines_what_they_are_for():
    assert {path.parent.name for path in SOURCE.glob("*/__init__.py")} == set(MAY_IMPORT)
    for package in MAY_IMPORT:
        text = ast.get_docstring(ast.parse((SOURCE / package / "__init__.py").read_text())) or ""
        assert 1 <= len([line for line in text.splitlines() if line]) <= 2, package


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_go_one_way(package):
    for path in (SOURCE / package).rglob("*.py"):
        assert {name.split(".")[0] for name in imports(path)} <= {package, "common", *MAY_IMPORT[package]}, path
