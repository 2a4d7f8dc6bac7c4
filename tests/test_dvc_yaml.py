"""dvc.yaml beside the code: each stage depends on the packages that it imports and on the parameters that it reads."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import ROOT
from test_packages import SOURCE, imports
from test_workflow import COPIED, METHODS, Project

from oneshot.common.schema import names_of
from oneshot.data.split import CheckedSplitStage
from oneshot.params import Params, check_params
from oneshot.report.comparison import flat
from oneshot.report.model_card import ExportStage

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def script_of(stage):
    command = re.fullmatch(r"python (stages/\w+\.py)( \$\{item\.method\})?", STAGES[stage]["cmd"])
    assert command, STAGES[stage]["cmd"]
    return command[1]


def needed(stage):
    """The modules that a stage imports, directly or not."""
    found = set()
    todo = imports(ROOT / script_of(stage))
    while todo:
        found |= todo
        todo = {name for module in todo for name in imports(SOURCE / f"{module.replace('.', '/')}.py")} - found
    return found


def listed(stage):
    """The modules that a stage depends on in dvc.yaml, by their own paths or those of their packages."""
    paths = [ROOT / path for path in STAGES[stage]["deps"] if path.startswith("src/")]
    files = [file for path in paths for file in ([path] if path.suffix else path.rglob("*.py"))]
    return {file.relative_to(SOURCE).with_suffix("").as_posix().replace("/", ".") for file in files}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_what_it_imports(stage):
    """But on `common`: errors, files, the frame of a stage and the reading of parameters change no figure."""
    assert {name for name in needed(stage) - listed(stage) if not name.startswith("common.")} == set()


def stage_params(stage):
    """The model of parameters that a stage's script, or `Context.of`, loads."""
    text = (ROOT / script_of(stage)).read_text()
    every = {cls.__name__: cls for cls in (*Params.__mro__, ExportStage, CheckedSplitStage) if "Stage" in cls.__name__}
    (name,) = {"MeasuringStage"} if "Context.of" in text else {n for n in re.findall(r"\w+Stage", text) if n in every}
    return every[name]


@pytest.mark.parametrize("stage", [name for name in STAGES if name != "check_params"])
def test_a_stage_depends_on_the_parameters_that_it_reads(stage):
    named = {name.split(".")[0] for name in STAGES[stage]["params"]}
    assert named == set(stage_params(stage).model_fields)


def test_check_params_reads_the_whole_file_and_comes_first():
    assert STAGES["check_params"]["params"] == [{"params.yaml": None}]
    assert "results/params-checked" in STAGES["download"]["deps"]
    made = {out for stage in STAGES.values() for out in stage.get("outs", []) if isinstance(out, str)}
    for name in STAGES.keys() - {"check_params", "download", "compare"}:
        assert any(path in made or path.startswith("results/") for path in STAGES[name]["deps"]), name


def test_every_script_is_a_stage_with_a_description():
    scripts = {f"stages/{path.name}" for path in (ROOT / "stages").glob("[!_]*.py")}
    assert {script_of(stage) for stage in STAGES} == scripts
    assert [name for name, stage in STAGES.items() if not stage.get("desc")] == []
    for script in scripts:
        text = (ROOT / script).read_text()
        assert ast.get_docstring(ast.parse(text)) and len(text.splitlines()) <= 60, script


def test_params_yaml_has_every_parameter_with_a_comment():
    lines = [line for line in (ROOT / "params.yaml").read_text().splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.search(r" # \S", line)] == []
    assert sorted(flat(yaml.safe_load("\n".join(lines)))) == sorted(names_of(Params))
    check_params(ROOT / "params.yaml")


def test_a_tag_publishes_a_network_that_git_keeps(tmp_path):
    """As docs/how-to.md says: without a clone, a cache or a remote."""
    project = Project(tmp_path / "project")
    Project(ROOT).copy_to(project.folder, *COPIED, "models")
    project.run("git", "init", "--quiet")
    project.commit("networks")
    for method in METHODS:
        network, got = project.folder / f"models/{method}.safetensors", tmp_path / method
        get = ("artifacts", "get", str(project.folder), method, "--out", str(got))
        tag = ("git", "tag", "--force", f"{method}@v0.1.0")
        project.run(*tag)
        assert "Unable to find artifact" in project.dvc(*get, code=None)
        project.run(*tag, "--annotate", "--message", "release")
        published = network.read_bytes()
        network.write_bytes(b"later")
        project.commit("later")
        project.dvc(*get, "--rev", "v0.1.0")
        assert got.read_bytes() == published
        project.dvc("get", str(project.folder), f"models/{method}.safetensors", "--out", f"{got}_latest")
        assert Path(f"{got}_latest").read_bytes() == b"later"


def test_committed_results_are_those_of_the_committed_code():
    """Else the commands that need no data, in a fresh clone, would run what cannot run there."""
    command = ["git", "status", "--porcelain", "--", "src", "stages", "params.yaml", "dvc.yaml"]
    if subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout:
        pytest.skip("the code is being edited; `dvc repro` comes before the commit")
    done = subprocess.run([sys.executable, "-m", "dvc", "status", "--json"], cwd=ROOT, capture_output=True, text=True)
    changes = [change for stage in json.loads(done.stdout).values() for change in stage if isinstance(change, dict)]
    changed = {path: kind for change in changes for path, kind in change.get("changed deps", {}).items()}
    ours = {path: kind for path, kind in changed.items() if path.startswith(("src", "stages", "params.yaml"))}
    assert ours == {}
