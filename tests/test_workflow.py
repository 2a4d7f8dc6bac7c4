"""The pipeline as a user runs it: DVC commands in a temporary Git repository, on tiny data."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo
from helpers import ROOT, TINY
from ruamel.yaml import YAML
from test_folder import write_pictures

from oneshot.comparison import flat
from oneshot.dataset import Dataset

METHODS = ("classic", "meta")
COPIED = (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore", "dvc.yaml", "params.yaml")
FOLDERS = ("configs", "scripts", "src", "stages")

# Python runs this at its start where PYTHONPATH leads to it: a training is killed in the middle, between
# two checkpoints, as if the power had failed.
KILL_TRAININGS = """
import os, signal, sys
script = os.path.basename(sys.orig_argv[-1])
if script in ("train_classic.py", "train_meta.py"):
    sys.path.insert(0, "src")
    if script == "train_classic.py":
        from oneshot.classic import ClassicTraining as Training
    else:
        from oneshot.reptile import ReptileTraining as Training
    def step(self, number, take_step=Training.step):
        if number == self.steps // 2 + 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return take_step(self, number)
    Training.step = step
"""


class Project:
    """A copy of the project in a Git repository of its own, with tiny parameters."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Nothing of the user's set-up, and nothing of a DVC run that these tests may be part of.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_"))}
        people = {f"GIT_{role}_{key}": f"test@{role}" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
        dvc = {f"DVC_{place}_DIR": f"{folder}-dvc" for place in ("SITE_CACHE", "SYSTEM_CONFIG", "GLOBAL_CONFIG")}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = kept | people | dvc | {"GIT_CONFIG_GLOBAL": os.devnull, "PATH": path}

    def run(self, *command: str, code: int | None = 0, cwd: Path | None = None, **environment: str) -> str:
        """Run a command, check its exit code (None: any but 0); returns what it printed, both streams."""
        done = subprocess.run(
            command,
            cwd=cwd or self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == code if code is not None else done.returncode, done.stdout
        return done.stdout

    def dvc(self, *arguments: str, code: int | None = 0, **environment: str) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments, code=code, **environment)

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)


def stages_run(output: str) -> set[str]:
    """The stages that DVC ran; those taken from its cache are not among them."""
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage ")}


def set_params(path: Path, **values: Any) -> None:
    keeping_comments = YAML()
    params = keeping_comments.load(path)
    params.update(values)
    keeping_comments.dump(params, path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """A project whose trainings were both killed and went on in a second `dvc repro`, committed; and its output."""
    project = Project(tmp_path_factory.mktemp("workflow") / "project")
    for name in COPIED:
        (project.folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, project.folder / name)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, project.folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    set_params(project.folder / "params.yaml", **TINY, checkpoint_steps=4)
    project.run("git", "init", "--quiet", "--initial-branch=main")
    project.commit("code")

    killer = tmp_path_factory.mktemp("killer")
    (killer / "sitecustomize.py").write_text(KILL_TRAININGS)
    project.dvc("repro", "--keep-going", "train_classic", "train_meta", code=None, PYTHONPATH=str(killer))
    for method in METHODS:
        assert not (project.folder / f"results/trained/{method}/model.pt").exists()
    output = project.dvc("repro")
    project.commit("results")
    return project, output


@pytest.fixture
def project(finished: tuple[Project, str]) -> Iterator[Project]:
    """The finished project, put back afterwards."""
    project, _ = finished
    yield project
    (project.folder / "params.yaml").touch()  # else Git may take a change of the same length for none
    if project.run("git", "status", "--porcelain", "--untracked-files=no"):
        project.run("git", "checkout", "--quiet", ".")
        project.dvc("checkout", "--quiet")


def test_everything_is_made_and_declared(finished: tuple[Project, str]) -> None:
    project, _ = finished
    declared = {line.split()[0] for line in project.run("git", "ls-files", "metrics", "plots", "models").splitlines()}
    assert {f"metrics/{name}.json" for name in (*METHODS, "evaluation", "comparison")} <= declared
    assert {"plots/roc.svg", "plots/training.svg", "plots/map_meta.png", "models/meta.pt"} <= declared
    lock = (project.folder / "dvc.lock").read_text()
    assert [path for path in declared if f"path: {path}\n" not in lock] == []


def test_killed_trainings_go_on_with_the_same_bytes(finished: tuple[Project, str], tmp_path: Path) -> None:
    project, output = finished
    for name in ("params.yaml", "src", "stages", "data"):
        source = project.folder / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    for method in METHODS:
        assert f"going on from checkpoints/train_{method}-" in output
        project.run("python", f"stages/train_{method}.py", cwd=tmp_path)  # uninterrupted, without DVC
        ours, theirs = (folder / f"results/trained/{method}" for folder in (project.folder, tmp_path))
        assert {path.name for path in ours.iterdir()} == {path.name for path in theirs.iterdir()}
        for path in ours.iterdir():
            assert path.read_bytes() == (theirs / path.name).read_bytes(), path.name
    assert list(project.folder.glob("checkpoints/*.pt")) == []  # gone with the end of the trainings


def test_second_repro_does_nothing(project: Project) -> None:
    assert stages_run(project.dvc("repro")) == set()
    assert json.loads(project.dvc("status", "--json")) == {}
    assert project.run("git", "status", "--porcelain") == ""


def test_meta_step_leaves_data_and_classic_alone(project: Project) -> None:
    output = project.dvc("exp", "run", "-S", "meta_step=0.5")
    of_meta = {f"{stage}@meta" for stage in ("calibrate", "evaluate", "illustrate")}
    assert stages_run(output) == {"check_params", "train_meta", "compare", "export"} | of_meta
    assert "meta_step: 0.5 " in (project.folder / "params.yaml").read_text()  # and its comment


def test_classic_and_meta_have_the_same_metrics(project: Project) -> None:
    files = json.loads(project.dvc("metrics", "show", "--json"))[""]["data"]
    classic, meta = (flat(files[f"metrics/{method}.json"]["data"]) for method in METHODS)
    assert list(classic) == list(meta)
    assert files["metrics/evaluation.json"] == files["metrics/meta.json"]
    for key in ("threshold", "seen.triplet_accuracy", "unseen.binary_accuracy", "one_shot.accuracy"):
        assert key in classic
    others = ("threshold", "ci95", "gain", "near_copies")
    assert all(0 <= value <= 1 for key, value in (classic | meta).items() if not key.endswith(others))


def test_classic_and_meta_compare_as_experiments(project: Project) -> None:
    for method, name in (("classic", "classic"), ("meta", "meta"), ("classic", "back")):
        output = project.dvc("exp", "run", "--name", name, "-S", f"training={method}")
        assert stages_run(output) <= {"check_params", "compare"}
        evaluation, expected = (project.folder / f"metrics/{file}.json" for file in ("evaluation", method))
        assert evaluation.read_bytes() == expected.read_bytes()
    changes = json.loads(project.dvc("metrics", "diff", "classic", "meta", "--json"))
    assert list(changes) == ["metrics/evaluation.json"]
    assert len(changes["metrics/evaluation.json"]) > 10


def test_editing_a_module_changes_exactly_the_stages_that_use_it(project: Project) -> None:
    lock = yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"]
    users: dict[str, set[str]] = {}
    for stage, entry in lock.items():
        for dependency in entry["deps"]:
            if dependency["path"].endswith(".py"):
                users.setdefault(dependency["path"], set()).add(stage)
    assert len(users) > 30 and users["src/oneshot/reptile.py"] == {"train_meta"}
    with repository(project) as repo:
        for module, stages in users.items():
            path = project.folder / module
            before = path.read_bytes()
            path.write_bytes(before + b"# edited\n")
            changed = {
                name.rpartition(":")[2]
                for name, what in repo.status().items()
                if any(module in part.get("changed deps", {}) for part in what if isinstance(part, dict))
            }
            path.write_bytes(before)
            assert changed == stages, module
        assert repo.status() == {}


@contextmanager
def repository(project: Project) -> Iterator[Repo]:
    """DVC's own view of the project."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in project.environment.items():
            patch.setenv(name, value)
        with Repo(str(project.folder)) as repo:
            yield repo


STAGES = [
    "download", "split_tasks", "train_classic", "train_meta", "calibrate meta", "evaluate classic", "illustrate meta",
    "compare", "export",
]  # fmt: skip


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_ends_in_one_line_and_leaves_all_as_it_was(project: Project, stage: str) -> None:
    """A limit of zero bytes for every file stands for the disk; what is there must neither change nor go."""
    name, *arguments = stage.split()
    before = {path: path.read_bytes() for path in outputs(project)}
    code = (
        f"import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); sys.argv = {['', *arguments]}"
    )
    code += f"; sys.path.insert(0, 'stages'); runpy.run_path('stages/{name}.py', run_name='__main__')"
    printed = project.run("python", "-c", code, code=1, TQDM_DISABLE="1", TORCHINDUCTOR_CACHE_DIR="unused")
    # Without that folder torch looks for one for temporary files, and it is this search that would fail.
    lines = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "File too large" in lines[0] and "free space" in lines[0] and "Traceback" not in printed
    assert {path: path.read_bytes() for path in outputs(project)} == before


def outputs(project: Project) -> list[Path]:
    folders = ("data", "results", "metrics", "plots", "models")
    return sorted(path for folder in folders for path in (project.folder / folder).rglob("*") if path.is_file())


@pytest.mark.parametrize("stage", ["train_classic", "train_meta"])
def test_a_failed_allocation_ends_in_one_line(project: Project, tmp_path: Path, stage: str) -> None:
    for name in ("params.yaml", "src", "stages", "data"):
        source = project.folder / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    set_params(tmp_path / "params.yaml", resnet_widths=[64, 512, 1024])
    code = f"""
import atexit, resource, runpy, sys, torch._dynamo
sys.path.insert(0, "stages")
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
atexit.register(resource.setrlimit, resource.RLIMIT_AS, (-1, -1))  # torch's own end needs memory, too
resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, -1))
runpy.run_path("stages/{stage}.py", run_name="__main__")
"""
    printed = project.run("python", "-c", code, code=1, cwd=tmp_path, TQDM_DISABLE="1")
    assert "error: out of memory; close other programs" in printed and "Traceback" not in printed


def test_unknown_parameter_is_refused(project: Project) -> None:
    output = project.dvc("exp", "run", "-S", "bogus=1", code=None)
    assert "bogus" in output
    assert stages_run(output) == set()


def test_wrong_value_ends_in_one_line_before_anything_runs(project: Project) -> None:
    output = project.dvc("exp", "run", "-S", "meta_step=-1", code=None)
    assert stages_run(output) == {"check_params"}
    assert "error: params.yaml: meta_step: found -1; must be at least 0\n" in output
    assert "Traceback" not in output


def test_config_runs_beside_the_results(project: Project) -> None:
    config = project.folder / "configs/other.yaml"
    config.write_text("training: classic\n")
    output = project.run("python", "scripts/run_config.py", "configs/other.yaml")
    config.unlink()
    # The project's cache has the results of all others; these write what Git keeps.
    assert stages_run(output) <= {"check_params", "compare", "export", "illustrate@classic", "illustrate@meta"}
    assert "training: classic " in (project.folder / "runs/other/params.yaml").read_text()  # and its comment
    evaluation, classic = (project.folder / f"runs/other/metrics/{name}.json" for name in ("evaluation", "classic"))
    assert evaluation.read_bytes() == classic.read_bytes()
    assert "runs/other/plots/roc.svg" in output.splitlines()[-2]
    report = project.run("python", "scripts/write_report.py", "runs/other")
    assert "report.html: written" in report and (project.folder / "runs/other/report.html").stat().st_size > 10**5
    assert project.run("git", "status", "--porcelain") == ""


def test_config_with_a_mistake_ends_in_one_line(project: Project) -> None:
    script = ("python", "scripts/run_config.py", "configs/demo.yaml")
    wrong_key = project.run(*script, "--set", "image_budgets=1", code=1)
    assert wrong_key == "error: image_budgets: unknown parameter; did you mean image_budget?\n"
    wrong_value = project.run(*script, "--set", "image_budget=1", code=1)
    assert wrong_value.startswith("error: ") and "image_budget: found 1; must be at least" in wrong_value
    assert wrong_value.count("\n") == 1


def test_a_folder_of_pictures_goes_through_the_whole_pipeline(
    project: Project, tmp_path: Path, digits: Dataset
) -> None:
    pictures = write_pictures(tmp_path / "pictures", digits, each=24)
    settings = {"data_folder": pictures, "image_size": 16, "image_budget": 1600, "unseen_classes": 3, "device": "cpu",
                "resnet_stem": 4, "resnet_widths": "[4, 8, 16]", "threads": 1, "precision": "fp32", "episode_count": 20,
                "classic_batch_classes": 4, "task_classes": 4, "adapt_classes": 4, "adapt_episodes": 3}  # fmt: skip
    options = [option for key, value in settings.items() for option in ("--set", f"{key}={value}")]
    project.run("python", "scripts/run_config.py", "configs/folder.yaml", *options)
    folder = project.folder / "runs/folder"
    assert len(list(folder.glob("plots/*.png"))) == 6 and (folder / "metrics/meta.json").exists()
    # What came out is at once of use, on the pictures themselves.
    model, (one, two, other) = folder / "models/meta.pt", sorted(pictures.rglob("*.png"))[:3]
    project.run("python", "-m", "oneshot.cli", "verify", str(one), str(one), "--model", str(model), cwd=folder / "src")
    gallery = tmp_path / "known.npz"
    command = ("python", "-m", "oneshot.cli")
    project.run(*command, "enroll", str(pictures), "--gallery", str(gallery), "--model", str(model), cwd=folder / "src")
    rows = project.run(*command, "classify", *map(str, (one, two, other)), "--gallery", str(gallery), "--json",
                       "--model", str(model), cwd=folder / "src")  # fmt: skip
    assert [row["picture"] for row in json.loads(rows)] == [str(one), str(two), str(other)]
    assert all(row["nearest"] in digits.class_names and -1 <= row["score"] <= 1 for row in json.loads(rows))


def test_results_are_shared_through_a_folder(project: Project, tmp_path: Path) -> None:
    project.dvc("remote", "add", "--default", "--local", "storage", str(tmp_path / "storage"))
    project.dvc("push")
    clone = Project(tmp_path / "clone")
    project.run("git", "clone", "--quiet", str(project.folder), str(clone.folder))
    assert not (clone.folder / "results").exists() and (clone.folder / "models/meta.pt").exists()
    clone.dvc("remote", "add", "--default", "--local", "storage", str(tmp_path / "storage"))
    clone.dvc("pull")
    model = "results/trained/meta/model.pt"
    assert (clone.folder / model).read_bytes() == (project.folder / model).read_bytes()
    assert json.loads(clone.dvc("status", "--json")) == {}
    assert stages_run(clone.dvc("repro")) == set()
