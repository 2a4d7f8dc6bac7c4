"""What README.md and the pages in docs/ name exists, and their commands and pictures are those of the project."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import draw_figures
import pytest
import yaml
from dvc.cli import parse_args
from helpers import COMMITTED, ROOT, refusal
from test_workflow import COPIED, FOLDERS, Project

from oneshot.common.files import read_json
from oneshot.common.params import changed
from oneshot.common.schema import names_of
from oneshot.data.dataset import save_dataset
from oneshot.params import Params
from oneshot.recognizer import Recognizer, cli
from oneshot.report.comparison import METHODS, flat
from oneshot.sources.fetch import SOURCE

PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
         for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))}  # fmt: skip
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
MAKEFILE = (ROOT / "Makefile").read_text()
NAMES = names_of(Params)

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = [block for text in PAGES.values() for block in FENCE.findall(text)]
PROSE = {page: FENCE.sub("", text) for page, text in PAGES.items()}
SPANS = [span.replace("\\|", "|") for text in PROSE.values() for span in re.findall(r"`([^`\n]+)`", text)]
LINES = [line.removeprefix("$ ") for language, block in BLOCKS if language in ("sh", "console")
         for line in block.splitlines() if language == "sh" or line.startswith("$ ")]  # fmt: skip
COMMANDS = LINES + SPANS
DIFFERENCES = (ROOT / "docs/reference-project.md").read_text().partition("## Its figures")[0]
MADE = (  # by commands or by the reader, and no stage's output
    r"(\.venv|checkpoints|runs|data/raw|known|pictures)/.*|\.dvc/tmp/rwlock"
    r"|dvc\.lock|studies/NAME\.json|report\.html|roc\.svg|threshold\.json|known\.safetensors|new\.jpg"
)


# Commands of code blocks, by what runs the like of them (the start of a test's name, or .ci/run) or what no test has.
RUN_BY = {
    r"make (setup|test)": ".ci/run",
    r"make demo|cd runs/demo|dvc exp run -S meta_step=0\.02|dvc metrics diff --targets .*": "test_the_tutorial_shows",
    r"python scripts/run_config\.py \S+( --set \S+)?": "test_config_runs_beside_the_results",
    r"python scripts/run_config\.py configs/folder\.yaml .*": "test_a_folder_of_pictures_goes_through",
    r"cd \S+|dvc metrics diff.*|dvc exp run --allow-missing -n .*|make experiments": "test_a_clone_without_data",
    r"dvc repro.*|dvc exp run (--allow-missing )?-S .*": "test_with_the_data_alone_a_clone_trains",
    r"dvc (remote add|push|checkout).*": "test_results_are_shared_through_a_folder",
    r"dvc artifacts get .*": "test_a_tag_publishes_a_network",
    r"oneshot export .*": "test_python_snippets_run",
    r"oneshot .*": "test_networks_name_the_example_pictures",
    r"(GLOO_\S+ )?torchrun .*|dvc commit --force train_classic": "test_several_processes_give_the_weights_of_one",
    r"python scripts/write_pages\.py": "test_page_is_up_to_date_with_its_sources",
    r"ONESHOT_DATA_SOURCE=\S+ dvc repro download": "test_every_source_gives_the_same_bytes",
    r"dvc (exp run --queue|queue|exp apply) .*|dvc queue start": "needs a worker of DVC's in the background",
    r"git .*": "needs a user's own history",
    r"python scripts/run_studies\.py seed_2": "needs an hour",
}


def outputs():
    """Files and folders that stages write."""
    entries = [entry for stage in STAGES.values() for entry in stage.get("outs", []) + stage.get("metrics", [])]
    paths = [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
    return {path.replace("${item.method}", method) for path in paths for method in METHODS}


def exists(path):
    """Whether a path is there, from the top folder or in a package, or is made by a stage or a command."""
    made = any(f"{out}/".startswith(f"{path.rstrip('/')}/") or path.startswith(f"{out}/") for out in outputs())
    there = (ROOT / path).exists() or any(ROOT.glob(f"src/oneshot/**/{path}"))
    return there or made or re.fullmatch(MADE, path) is not None


def pairs_in(text):
    """Parameters in code spans such as `reptile.task_classes: 1`."""
    return re.findall(r"`([\w.]+): ([^`]+)`", text)


def anchors(page):
    """What a link to a page may name after `#`."""
    headings = re.findall(r"^#+ (.+)$", PROSE[page], re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", PROSE[page]):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        path = (ROOT / page).parent.joinpath(path).resolve().relative_to(ROOT).as_posix() if path else page
        if not exists(path) or (anchor and anchor not in anchors(path)):
            wrong.append(target)
    assert wrong == []


def test_every_command_of_a_code_block_is_run_or_says_what_it_needs():
    unknown = [line for line in LINES if not any(re.fullmatch(pattern, line) for pattern in RUN_BY)]
    assert unknown == []
    tests = "".join(path.read_text() for path in ROOT.glob("tests/**/test_*.py"))
    assert [name for name in RUN_BY.values() if name.startswith("test_") and f"def {name}" not in tests] == []


def test_named_files_exist_and_versions_agree():
    version = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    assert f'version = "{version}"' in (ROOT / "pyproject.toml").read_text()
    with_suffix = r"\w[\w./-]*\.(py|ya?ml|json|csv|tsv|svg|txt|md|cff|lock|safetensors|npy)"
    words = {word for command in COMMANDS for word in command.split()}
    paths = {word for word in words if re.fullmatch(rf"{with_suffix}|\.?\w[\w.-]*/[\w./-]*", word)}
    assert len(paths) > 20
    assert sorted(path for path in paths if not exists(path)) == []


def test_make_targets_exist_and_commands_without_make_are_theirs():
    named = {target for command in COMMANDS for target in re.findall(r"^make (\w+)", command)}
    assert {"demo", "test"} <= named <= set(re.findall(r"^(\w+):", MAKEFILE, re.MULTILINE))
    makefile = MAKEFILE
    for old, new in {
        "$(RUN)": re.findall(r"^RUN := (.+)$", MAKEFILE, re.MULTILINE)[0], "$(BIN)": ".venv/bin", "$(VENV)": ".venv",
        '"$(PYTHON)"': "python3", " --quiet --disable-pip-version-check": "", " $(OPTIONS)": "", " $(PARTS)": "",
    }.items():  # fmt: skip
        makefile = makefile.replace(old, new)
    recipes = {line.strip().removeprefix("@") for line in makefile.splitlines() if line.startswith("\t")}
    rows = [line for text in PROSE.values() for line in text.splitlines() if line.startswith("| `make ")]
    commands = [span for row in rows for span in re.findall(r"`([^`]+)`", row) if ".venv" in span]
    assert len(commands) > 5
    assert [command for command in commands if command not in recipes] == []


def test_dvc_understands_its_commands():
    lines = [line[line.index("dvc ") :] for line in COMMANDS if re.match(r"(\w+=\S+ )?dvc \w", line)]
    assert len(lines) > 15
    for line in lines:
        targets = getattr(parse_args(shlex.split(line)[1:]), "targets", None)
        assert set(targets or []) <= {*STAGES, *outputs()}, line


def test_parameters_exist_and_may_have_these_values_and_environment_variables_are_the_codes():
    found = [pair for command in COMMANDS for pair in re.findall(r"(?:-S|--set) ([\w.]+)=(\S+)", command)]
    settings = [(name, value) for name, values in found for value in values.split(",") if not value.isupper()]
    for name, value in settings + pairs_in(DIFFERENCES):
        assert name in NAMES, name
        Params.model_validate(changed(COMMITTED, {name: yaml.safe_load(value)}))
    assert set(re.findall(r"ONESHOT_\w+", "".join(PAGES.values()))) == {SOURCE}


def test_table_of_differences_agrees_with_defaults_and_with_reference():
    ours, theirs = flat(COMMITTED), flat(yaml.safe_load((ROOT / "configs/reference.yaml").read_text()))
    for row in (line.split(" | ") for line in DIFFERENCES.splitlines() if " | " in line):
        assert len(row) == 4, row
        for cell, values in ((row[1], ours), (row[3], theirs)):
            for name, value in pairs_in(cell):
                assert name not in values or values[name] == yaml.safe_load(value), f"{name} is {values[name]}"


def test_metrics_that_are_explained_are_measured():
    page = PAGES["docs/metrics.md"].split("## Everything")[1]
    explained = re.findall(r"`([^`]+)`", "".join(re.findall(r"^\|([^|]+)\|", page, re.MULTILINE)))
    assert len(explained) > 20
    measured = {*NAMES, *".".join(flat(read_json(ROOT / "metrics/details/classic.json"))).split(".")}
    assert [name for name in explained if name not in measured and not name.startswith("validation")] == []


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """A folder to type commands in, beside the networks and example pictures."""
    for name in ("examples", "models"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)


def exit_code(command):
    """Of `oneshot`, run in this process."""
    with pytest.raises(SystemExit) as ended:
        cli.main(shlex.split(command)[1:])
    return ended.value.code


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize("code", [block for language, block in BLOCKS if language == "python"])
def test_python_snippets_run(code, capsys):
    """Each compares the two wolves."""
    if "onnx" in code:
        assert [exit_code(line) for line in LINES if line.startswith("oneshot export ")] == [0]
        assert "torch" not in code and "oneshot" not in code and len(code.splitlines()) <= 12
    exec(compile(code, "README.md", "exec"), {})
    verdict = Recognizer("meta").verify("examples/known/wolf.png", "examples/new/wolf.png")
    similarity, *same = capsys.readouterr().out.splitlines()[-1].split()
    assert float(similarity) == pytest.approx(verdict.similarity, abs=1e-5) and same in ([], [str(verdict.same)])


@pytest.mark.usefixtures("beside")
def test_networks_name_the_example_pictures(capsys):
    commands = [line for line in LINES if line.startswith("oneshot ") and "examples/" in line]
    assert {"verify", "enroll", "classify"} <= {command.split()[1] for command in commands}
    for command in commands:
        assert exit_code(command) in ((0, 1) if " verify " in command else (0,))
    named = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("examples/new/")]
    assert len(named) == 10
    assert sum(Path(path).stem == name for path, _, name, *_ in named) > 3  # by chance one


def alike(shown, printed):
    """Whether two lines have the same words, and figures of the same sign within 10 points, or 0.1, of each other.

    The demo has three unseen digits and one seed: another machine may move a figure by some points. Times and paths
    that differ between machines are not shown.
    """
    tolerance = 10 if "%" in shown else 0.1

    def same(word, other):
        if word == other or not all(re.fullmatch(r"[+-]?\d+\.\d+%?", one) for one in (word, other)):
            return word == other
        first, second = (float(one.rstrip("%")) for one in (word, other))
        return first * second >= 0 and abs(first - second) <= tolerance

    words, others = shown.split(), printed.split()
    return len(words) == len(others) and all(map(same, words, others))


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_the_tutorial_shows_what_its_commands_print(tmp_path):
    """The demo itself: two minutes. The lines that are shown are printed, in this order, among others."""
    project = Project(tmp_path / "project")
    Project(ROOT).copy_to(project.folder, *COPIED, *FOLDERS, "Makefile")
    folder, environment = project.folder, f"make VENV={sys.prefix} --old-file={sys.prefix}/installed "
    blocks = [block for language, block in FENCE.findall(PAGES["docs/tutorial.md"]) if language == "console"]
    for command, shown in re.findall(r"^\$ (.+)\n((?:[^$].*\n)*)", "".join(blocks), re.MULTILINE):
        if command.startswith("cd "):
            folder /= command.removeprefix("cd ")
            continue
        printed = project.run("sh", "-c", command.replace("make ", environment), cwd=folder).splitlines()
        left = iter(printed)
        assert [line for line in shown.splitlines() if not any(alike(line, other) for other in left)] == [], printed
    assert folder != project.folder


def words_in(path):
    """The words of a picture: text is drawn as outlines, each below such a comment."""
    return re.findall(r"<!-- (.+?) -->", path.read_text())


def test_pipeline_picture_shows_the_pipeline(tmp_path):
    words = words_in(ROOT / "docs/pipeline.svg")
    names = {f"{name}@{method}" if "matrix" in stage else name for name, stage in STAGES.items() for method in METHODS}
    of_both = r"metrics/\w+\.json|.*comparison.*"  # compare's, drawn as one
    assert names | {path for path in outputs() if not re.fullmatch(of_both, path)} <= set(words)
    drawn = [tmp_path / name for name in ("a.svg", "b.svg")]
    for path in drawn:
        draw_figures.pipeline(path)
    assert words_in(drawn[0]) == words, "run `make figures`"
    assert drawn[0].read_bytes() == drawn[1].read_bytes()


def test_triplet_picture_is_drawn_from_cifar(tmp_path, digits, cifar100):
    picture = tmp_path / "triplet.svg"
    save_dataset(tmp_path / "digits", digits)
    assert "dataset: cifar100" in refusal(draw_figures.triplet, tmp_path / "digits", picture)
    save_dataset(tmp_path / "cifar100", cifar100)
    draw_figures.triplet(tmp_path / "cifar100", picture)
    assert words_in(picture) == words_in(ROOT / "docs/triplet.svg"), "run `make figures`"
