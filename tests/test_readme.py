"""What README.md and the pages in docs/ name exists, and their commands and pictures are those of the project."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import draw_figures
import pytest
import yaml
from dvc.cli import parse_args
from helpers import COMMITTED, ROOT, changed
from pydantic import ValidationError

from oneshot.common.errors import UserError
from oneshot.common.files import read_json
from oneshot.common.params import names_of
from oneshot.data.dataset import Dataset, save_dataset
from oneshot.params import Params
from oneshot.recognizer import cli
from oneshot.record.pages import PAGES
from oneshot.report.comparison import METHODS, flat
from oneshot.sources.fetch import SOURCE

README, *DOCS = ((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
MAKEFILE = (ROOT / "Makefile").read_text()
NAMES = names_of(Params)

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
    found = [pair for command in commands for pair in re.findall(r"(?:-S|--set) ([\w.]+)=(\S+)", command)]
    return [(name, value) for name, values in found for value in values.split(",") if name not in ("name", "NAME")]


def pairs_in(text: str) -> list[tuple[str, str]]:
    """Parameters in code spans such as `reptile.task_classes: 1`."""
    return re.findall(r"`([\w.]+): ([^`]+)`", text)


def mistakes(settings: list[tuple[str, str]]) -> list[str]:
    """Settings that params.yaml may not have."""
    wrong = []
    for name, value in settings:
        try:
            assert name in NAMES, f"{name} is no parameter"
            Params.model_validate(changed(COMMITTED, {name: yaml.safe_load(value)}))
        except (AssertionError, ValidationError) as error:
            wrong.append(f"{name}: {value}: {error}")
    return wrong


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            wrong += [target] if target[1:] not in anchors else []
        elif not target.startswith("https://"):
            path = Path(page).parent.joinpath(target).as_posix().replace("docs/../", "")
            wrong += [target] if not exists(path) else []
    assert wrong == []


def test_named_files_exist() -> None:
    with_suffix = r"\w[\w./-]*\.(py|ya?ml|json|csv|tsv|svg|txt|md|cff|lock|safetensors|npy)"
    words = {word for command in COMMANDS for word in command.split()}
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
    theirs = flat(yaml.safe_load((ROOT / "configs/reference.yaml").read_text()))
    rows = [
        line.split(" | ") for line in section("## How this differs from the reference").splitlines() if " | " in line
    ]
    for row in rows:
        assert len(row) == 4, row
        for name, value in pairs_in(row[1]):
            assert flat(COMMITTED)[name] == yaml.safe_load(value), f"{name}: its default is {flat(COMMITTED)[name]}"
        for name, value in pairs_in(row[3]):
            assert theirs.get(name, yaml.safe_load(value)) == yaml.safe_load(value), f"{name}: {theirs[name]} there"


def test_environment_variables_are_those_of_the_code() -> None:
    assert set(re.findall(r"ONESHOT_\w+", README)) == {SOURCE}


def test_metrics_that_are_explained_are_measured() -> None:
    if not (file := ROOT / "metrics/details/classic.json").exists():
        pytest.skip("the pipeline has not run")
    page = DOCS[PAGES.index("docs/metrics.md") - 1].split("## Everything")[1]
    explained = re.findall(r"`([^`]+)`", "".join(re.findall(r"^\|([^|]+)\|", page, re.MULTILINE)))
    assert len(explained) > 20
    measured = {part for key in flat(read_json(file)) for part in key.split(".")} | set(NAMES)
    assert [name for name in explained if name not in measured and not name.startswith("validation")] == []


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


def test_triplet_picture_needs_cifar(tmp_path: Path, digits: Dataset) -> None:
    save_dataset(tmp_path / "dataset", digits)
    with pytest.raises(UserError, match="dataset: cifar100"):
        draw_figures.triplet(tmp_path / "dataset", tmp_path / "triplet.svg")


def test_triplet_picture_is_drawn_from_cifar(tmp_path: Path, cifar100: Dataset) -> None:
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
