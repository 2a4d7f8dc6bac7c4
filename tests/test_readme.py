"""README.md is what scripts/write_readme.py writes, and what it names exists."""

from __future__ import annotations

import fnmatch
import importlib
import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.cli import parse_args
from helpers import ROOT
from pydantic import ValidationError

from oneshot import cli
from oneshot.comparison import HEADLINES, METHODS, flat
from oneshot.download import SOURCE
from oneshot.errors import UserError
from oneshot.files import write_json, write_table
from oneshot.params import Params

sys.path.insert(0, str(ROOT / "scripts"))
draw_figures, write_readme = map(importlib.import_module, ("draw_figures", "write_readme"))

README = (ROOT / "README.md").read_text(encoding="utf-8")
VALUES: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
MAKEFILE = (ROOT / "Makefile").read_text()

BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PROSE = re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL)
SPANS = [span.replace("\\|", "|") for span in re.findall(r"`([^`\n]+)`", PROSE)]
COMMANDS = [line for language, block in BLOCKS if language == "sh" for line in block.splitlines()] + SPANS
MADE = (  # by commands or by the reader, and no stage's output
    r"(\.venv|checkpoints|runs|data/raw|known|pictures)/.*"
    r"|dvc\.lock|studies/NAME\.json|report\.html|known\.npz|new\.jpg"
)


def section(heading: str) -> str:
    """The text below a heading, up to the next one of its level or above."""
    level = heading.split()[0]
    return re.split(rf"^#{{1,{len(level)}}} ", README.split(f"\n{heading}\n")[1], flags=re.MULTILINE)[0]


def outputs() -> set[str]:
    """Files and folders that stages write."""
    paths = set()
    for stage in STAGES.values():
        for entry in [*stage.get("outs", []), *stage.get("metrics", [])]:
            path = entry if isinstance(entry, str) else next(iter(entry))
            paths |= {path.replace("${item.method}", method) for method in METHODS}
    return paths


def exists(path: str) -> bool:
    """Whether a path is there, or is made by a stage or a command."""
    made = any(f"{out}/".startswith(f"{path.rstrip('/')}/") or path.startswith(f"{out}/") for out in outputs())
    return (ROOT / path).exists() or made or re.fullmatch(MADE, path) is not None


def set_in(commands: list[str]) -> list[tuple[str, str]]:
    """Parameters that commands set, with each of their values."""
    found = [pair for command in commands for pair in re.findall(r"(?:-S|--set) (\w+)=(\S+)", command)]
    return [(name, value) for name, values in found for value in values.split(",") if name != "name"]


def pairs_in(text: str) -> list[tuple[str, str]]:
    """Parameters in code spans such as `task_classes: 1`."""
    return re.findall(r"`(\w+): ([^`]+)`", text)


def mistakes(settings: list[tuple[str, str]]) -> list[str]:
    """Settings that params.yaml may not have."""
    wrong = []
    for name, value in settings:
        try:
            assert name in Params.model_fields, f"{name} is no parameter"
            Params.model_validate(VALUES | {name: yaml.safe_load(value)})
        except (AssertionError, ValidationError) as error:
            wrong.append(f"{name}: {value}: {error}")
    return wrong


def test_readme_is_what_the_script_writes() -> None:
    assert write_readme.filled(README, ROOT) == README, "README.md is not up to date: run `make readme`"


def test_links_lead_somewhere() -> None:
    anchors = {
        re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.+)$", PROSE, re.M)
    }
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", PROSE):
        if target.startswith("#"):
            wrong += [target] if target[1:] not in anchors else []
        elif not target.startswith("https://"):
            wrong += [target] if not (ROOT / target).exists() else []
    assert wrong == []


def test_named_files_exist() -> None:
    with_suffix = r"\w[\w./-]*\.(py|ya?ml|json|csv|tsv|svg|txt|md|cff|lock|pt|npy)"
    docstrings = section("## Map of the code")
    words = {word for command in COMMANDS if f"`{command}`" not in docstrings for word in command.split()}
    paths = {word for word in words if re.fullmatch(rf"{with_suffix}|\.?\w[\w.-]*/[\w./-]*", word)}
    assert len(paths) > 20
    assert sorted(path for path in paths if not exists(path)) == []


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^(\w+):", MAKEFILE, re.MULTILINE))
    named = {target for command in COMMANDS for target in re.findall(r"^make (\w+)", command)}
    assert named >= {"demo", "test"}
    assert sorted(named - targets) == []


def test_commands_without_make_are_the_makefiles() -> None:
    run = re.search(r"^RUN := (.+)$", MAKEFILE, re.MULTILINE)
    assert run
    makefile = MAKEFILE.replace("$(RUN)", run[1]).replace("$(BIN)", ".venv/bin").replace("$(VENV)", ".venv")
    makefile = (
        makefile.replace('"$(PYTHON)"', "python3")
        .replace(" --quiet --disable-pip-version-check", "")
        .replace(" $(OPTIONS)", "")
        .replace(" $(PARTS)", "")
    )
    recipes = {line.strip().removeprefix("@") for line in makefile.splitlines() if line.startswith("\t")}
    typed = [cell for line in section("### Without make").splitlines() if "| `" in line for cell in line.split("|")[2:]]
    commands = [command for cell in typed for command in re.findall(r"`([^`]+)`", cell)]
    assert len(commands) > 5
    assert [command for command in commands if command not in recipes] == []


def test_dvc_understands_its_commands() -> None:
    stages = {*STAGES, *outputs()}
    lines = [line[line.index("dvc ") :] for line in COMMANDS if re.match(r"(\w+=\S+ )?dvc \w", line)]
    assert len(lines) > 15
    for line in lines:
        targets = getattr(parse_args(shlex.split(line)[1:]), "targets", None)
        assert set(targets or []) <= stages, line


def test_stage_scripts_take_what_they_are_given() -> None:
    scripts = {stage["cmd"].replace("${item.method}", method) for stage in STAGES.values() for method in METHODS}
    named = {command for command in COMMANDS if command.startswith("python stages/")}
    assert named and named <= scripts


def test_parameters_exist_and_may_have_these_values() -> None:
    assert mistakes(set_in(COMMANDS)) == []
    assert mistakes(pairs_in(section("## How this differs from the reference"))) == []


def test_table_of_differences_agrees_with_defaults_and_with_reference() -> None:
    theirs = yaml.safe_load((ROOT / "configs/reference.yaml").read_text())
    rows = [
        line.split(" | ") for line in section("## How this differs from the reference").splitlines() if " | " in line
    ]
    for row in rows:
        assert len(row) == 4, row
        for name, value in pairs_in(row[1]):
            assert VALUES[name] == yaml.safe_load(value), f"{name}: its default is {VALUES[name]}"
        for name, value in pairs_in(row[3]):
            assert theirs.get(name, yaml.safe_load(value)) == yaml.safe_load(value), f"{name}: {theirs[name]} there"


def test_every_parameter_is_listed() -> None:
    assert re.findall(r"^\| `(\w+)` \|", section("## Parameters"), re.MULTILINE) == list(Params.model_fields)


def test_environment_variables_are_those_of_the_code() -> None:
    assert set(re.findall(r"ONESHOT_\w+", README)) == {SOURCE}


def test_every_module_is_on_the_map() -> None:
    listed = re.findall(r"\]\(([^)]+)\) ?\S*\s*\|", section("## Map of the code"))
    folders = ("stages", "src/oneshot", "scripts", "benchmarks")
    files = [path for folder in folders for path in ROOT.glob(f"{folder}/*.py")]
    assert sorted(listed) == sorted(str(path.relative_to(ROOT)) for path in files if path.name != "__init__.py")


def test_metrics_that_are_explained_are_measured() -> None:
    if not (ROOT / "metrics/classic.json").exists():
        pytest.skip("the pipeline has not run")
    metrics = json.loads((ROOT / "metrics/classic.json").read_text())
    explained = "".join(re.findall(r"^\|([^|]+)\|", section("### What is measured"), re.M))
    patterns = [span for span in re.findall(r"`([^`]+)`", explained) if span not in Params.model_fields]
    assert len(patterns) > 15
    found = {pattern: fnmatch.filter(flat(metrics), pattern) for pattern in patterns}
    assert [key for key, keys in found.items() if not keys and not key.startswith("validation")] == []
    assert "not measured" not in README  # a key that the tables ask for


@pytest.mark.parametrize("code", [block for language, block in BLOCKS if language == "python"])
def test_python_snippets_run(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    exec(compile(code, "README.md", "exec"), {})


def test_networks_name_the_example_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for name in ("examples", "models"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    commands = [line for line in COMMANDS if line.startswith("oneshot ") and "examples/" in line]
    assert len(commands) == 3
    for command in commands:
        with pytest.raises(SystemExit) as ended:
            cli.main(shlex.split(command)[1:])
        assert ended.value.code == 0
    named = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("examples/new/")]
    assert len(named) == 10
    assert sum(Path(path).stem == name for path, _, name, *_ in named) > 3  # by chance one


def fake_project(folder: Path) -> Path:
    """A project whose results are known."""
    for name in ("params.yaml", "dvc.yaml", "src", "stages", "scripts"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    group = {"triplet_accuracy": 0.9, "binary_accuracy": 0.8, "binary_accuracy_fixed": 0.55, "roc_auc": 0.85}
    episode = {"accuracy": 0.6, "ci95": 0.0123}
    both = {"unseen": group, "unseen_reference": group}
    classic = {"threshold": 0.5, "seen": group, **both, "one_shot": episode, "adapted_seen_all": group}
    classic |= {"adapted_1": {"threshold": 0.4, **both, "one_shot": episode}, "adapted_all": {"threshold": 0.4, **both}}
    meta = json.loads(json.dumps(classic).replace("0.9", "0.875"))
    for method, figures in (("classic", classic), ("meta", meta)):
        write_json(folder / f"metrics/{method}.json", figures)
        known = {"device": "cpu", "threads": 2, "precision": "fp32", "images": 1234, "weights": 5678}
        versions = {"hardware": "Chip", "system": "Linux", "python": "3.11.9", "torch": "2.0"}
        write_json(folder / f"plots/record_{method}.json", known | versions)
    write_table(folder / "plots/novel_classes.csv", [{"class": "willow_tree"}, {"class": "worm"}])
    return folder


def test_results_are_the_metrics(tmp_path: Path) -> None:
    found = write_readme.results(fake_project(tmp_path))
    assert f"| {HEADLINES['unseen.triplet_accuracy']} | `unseen.triplet_accuracy` | 90.00 | 87.50 | -2.50 |" in found
    assert "`one_shot.accuracy` | 60.00 ± 1.23 | 60.00 ± 1.23 | +0.00 |" in found
    assert "| none: as trained | 90.00 | 87.50 | 80.00 | 80.00 |" in found
    assert "| 1 | adapted | 60.00 ± 1.23 | 60.00 ± 1.23 | `adapted_1.one_shot.accuracy` |" in found
    assert "| 83.06 | 80.00 | 55.00 | `unseen_reference.binary_accuracy` |" in found
    assert "Chip (cpu, threads: 2), fp32" in found and "1,234 images" in found and "willow tree, worm" in found
    assert "not measured" not in found and "plots/roc.svg" not in found


def test_results_before_the_first_run(tmp_path: Path) -> None:
    assert write_readme.results(tmp_path) == write_readme.NOT_RUN


def test_filling_changes_generated_parts_alone(tmp_path: Path) -> None:
    folder = fake_project(tmp_path)
    filled = write_readme.filled(README, folder)
    assert write_readme.filled(filled, folder) == filled
    inside = r"(<!-- (\w+):begin -->).*?(<!-- \2:end -->)"
    assert re.sub(inside, "", filled, flags=re.DOTALL) == re.sub(inside, "", README, flags=re.DOTALL)


def test_missing_marker_is_named() -> None:
    with pytest.raises(UserError, match="<!-- results:begin -->"):
        write_readme.filled(README.replace("<!-- results:begin -->", ""), ROOT)


def test_parameter_without_reference_or_with_bars(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("# --- Part ----\na: 1  # x | y [2]\nb: [1, 5] # z\n")
    table = write_readme.parameters(tmp_path).splitlines()
    assert table[0] == "### Part"
    assert table[-2:] == ["| `a` | `1` | x \\| y | 2 |", "| `b` | `[1, 5]` | z |  |"]
    (tmp_path / "params.yaml").write_text("# --- Part ----\na: 1\n")
    with pytest.raises(UserError, match="'a: 1'"):
        write_readme.parameters(tmp_path)


def test_pipeline_picture_shows_the_pipeline(tmp_path: Path) -> None:
    committed = (ROOT / "docs/pipeline.svg").read_text()
    words = re.findall(r"<!-- (.+?) -->", committed)  # text is drawn as outlines, each below such a comment
    names = {f"{name}@{method}" if "matrix" in stage else name for name, stage in STAGES.items() for method in METHODS}
    assert names <= set(words)
    assert {path for path in outputs() if path.startswith(("data/", "results/"))} <= set(words)
    draw_figures.pipeline(tmp_path / "drawn.svg")
    assert re.findall(r"<!-- (.+?) -->", (tmp_path / "drawn.svg").read_text()) == words, "run `make figures`"


def test_figures_have_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        draw_figures.reptile(tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_triplet_picture_needs_cifar(tmp_path: Path, digits: Any) -> None:
    from oneshot.dataset import save_dataset

    save_dataset(tmp_path / "dataset", digits)
    with pytest.raises(UserError, match="dataset: cifar100"):
        draw_figures.triplet(tmp_path / "dataset", tmp_path / "triplet.svg")


def test_triplet_picture_is_drawn_from_cifar(tmp_path: Path, cifar100: Any) -> None:
    from oneshot.dataset import save_dataset

    save_dataset(tmp_path / "dataset", cifar100)
    draw_figures.triplet(tmp_path / "dataset", tmp_path / "triplet.svg")
    committed = (ROOT / "docs/triplet.svg").read_text()
    words = re.findall(r"<!-- (.+?) -->", (tmp_path / "triplet.svg").read_text())
    assert re.findall(r"<!-- (.+?) -->", committed) == words, "run `make figures`"


def test_citation_file() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{citation["version"]}"' in project
    assert {"cff-version", "message", "title", "authors", "license"} <= set(citation)
