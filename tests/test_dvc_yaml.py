"""dvc.yaml says what each stage really uses: modules and parameters are found in the code and compared."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from oneshot.params import Params, load_params

ROOT = Path(__file__).parents[1]
STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]

# Read by a stage, and yet not listed, since no result depends on them.
NOT_LISTED = {"checkpoint_steps"}  # how often a training is saved


def script_of(stage: str) -> str:
    command = re.fullmatch(r"python (stages/\w+\.py)( \$\{item\.method\})?", STAGES[stage]["cmd"])
    assert command, STAGES[stage]["cmd"]
    return command[1]


@cache
def tree_of(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def module_file(name: str) -> str | None:
    """Where `oneshot`, `oneshot.x` or `_checkout` is; None for anything from outside the project."""
    if name == "_checkout":
        return "stages/_checkout.py"
    head, _, rest = name.partition(".")
    if head != "oneshot":
        return None
    path = f"src/oneshot/{rest or '__init__'}.py"
    return path if (ROOT / path).exists() else None


@cache
def imports_of(path: str) -> dict[str, tuple[str, str | None]]:
    """Names that a file imports from the project, also inside functions: name -> (file, what of it; None: all)."""
    found: dict[str, tuple[str, str | None]] = {}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if file := module_file(alias.name):
                    assert alias.asname or "." not in alias.name, f"{path}: write `from oneshot import ...`"
                    found[alias.asname or alias.name] = (file, None)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports are not followed here"
            for alias in node.names:
                if file := module_file(f"{node.module}.{alias.name}"):
                    found[alias.asname or alias.name] = (file, None)
                elif file := module_file(node.module or ""):
                    found[alias.asname or alias.name] = (file, alias.name)
    return found


def files_used(script: str) -> set[str]:
    """The script and every file of the project that it imports, directly or not."""
    used, todo = set(), [script]
    while todo:
        path = todo.pop()
        if path not in used:
            used.add(path)
            todo += [file for file, _ in imports_of(path).values()]
    # Importing any module runs the package's __init__ first, which holds nothing but a docstring.
    assert len(tree_of("src/oneshot/__init__.py").body) == 1
    return used - {"src/oneshot/__init__.py"}


@cache
def definitions_of(path: str) -> dict[str, list[ast.stmt]]:
    """Statements of a file by the top-level name that they define; '' for all others, which run at import."""
    found: dict[str, list[ast.stmt]] = {"": []}
    for node in tree_of(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = [node]
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            found[""].append(node)
    return found


def params_used(script: str) -> set[str]:
    """Parameters that code reads which the script can reach: functions and classes whose names it mentions."""
    used, done = set(), set()
    todo: list[tuple[str, str]] = [(path, "") for path in files_used(script)]
    while todo:
        path, name = todo.pop()
        if (path, name) in done or path == "src/oneshot/params.py":  # that one reads all, to validate them
            continue
        done.add((path, name))
        imports, definitions = imports_of(path), definitions_of(path)
        for node in (node for statement in definitions.get(name, []) for node in ast.walk(statement)):
            if isinstance(node, ast.Name):
                if node.id in definitions:
                    todo.append((path, node.id))
                file, what = imports.get(node.id, (None, None))
                if file and what:
                    todo.append((file, what))
            elif isinstance(node, ast.Attribute):
                owner = node.value
                if re.search(r"(^|\.)(params|p|load_params\(.*\))$", ast.unparse(owner)):
                    used.add(node.attr)
                if isinstance(owner, ast.Name) and owner.id in imports and imports[owner.id][1] is None:
                    todo.append((imports[owner.id][0], node.attr))  # module.function
    return used & set(Params.model_fields)


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_the_modules_that_the_stage_imports(stage: str) -> None:
    code = {path for path in STAGES[stage]["deps"] if path.endswith(".py")}
    assert sorted(code) == sorted(files_used(script_of(stage)))


@pytest.mark.parametrize("stage", [name for name in STAGES if name != "check_params"])
def test_params_are_those_that_the_stage_reads(stage: str) -> None:
    assert sorted(STAGES[stage].get("params", [])) == sorted(params_used(script_of(stage)) - NOT_LISTED)


def test_check_params_reads_the_whole_file_and_comes_first() -> None:
    assert STAGES["check_params"]["params"] == [{"params.yaml": None}]
    made_by = {out: name for name, stage in STAGES.items() for out in stage.get("outs", []) if isinstance(out, str)}
    for name, stage in STAGES.items():
        while name != "check_params":
            before = [made_by[path] for path in stage["deps"] if path in made_by]
            assert before, f"nothing makes {name} wait for check_params"
            name, stage = before[0], STAGES[before[0]]


def test_every_stage_script_is_a_stage_with_a_description() -> None:
    scripts = {f"stages/{path.name}" for path in (ROOT / "stages").glob("[!_]*.py")}
    assert {script_of(stage) for stage in STAGES} == scripts
    assert [name for name, stage in STAGES.items() if not stage.get("desc")] == []


def test_every_parameter_is_listed_by_some_stage() -> None:
    listed = {key for name, stage in STAGES.items() if name != "check_params" for key in stage.get("params", [])}
    assert listed | NOT_LISTED == set(Params.model_fields)


def test_params_yaml_has_every_parameter_with_a_comment() -> None:
    lines = [line for line in (ROOT / "params.yaml").read_text().splitlines() if line and not line.startswith("#")]
    assert [line.split(":")[0] for line in lines] == list(Params.model_fields)
    assert [line for line in lines if not re.search(r" # \S", line)] == []


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_configs_give_valid_params(config: Path, tmp_path: Path) -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    overrides = yaml.safe_load(config.read_text())
    if overrides.get("dataset") == "folder":
        overrides["data_folder"] = "pictures"  # which the user names
    assert set(overrides) <= set(values)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values | overrides))
    load_params(tmp_path / "params.yaml")
