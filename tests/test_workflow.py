"""The pipeline as a user runs it: DVC commands in a temporary Git repository, on tiny data."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo
from helpers import KILL_TRAININGS, ROOT, TINY, write_pictures

from oneshot.common.files import write_text
from oneshot.record.runs import params_with
from oneshot.report.comparison import HEADLINES

METHODS = ("classic", "meta")
FEWER = {"adapted.py": (" = 100", " = 3"), "episodes.py": (", WAYS, QUERIES = 2000", ", WAYS, QUERIES = 20")}
COPIED = (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore", "dvc.yaml", "params.yaml")
FOLDERS = ("configs", "scripts", "src", "stages")
DVC = (sys.executable, "-m", "dvc")


class Project:
    """A copy of the project in a Git repository of its own, with tiny parameters."""

    def __init__(self, folder):
        self.folder = folder
        # Nothing of the user's set-up, and nothing of a DVC run that these tests may be part of.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_", "PYTHON"))}
        people = {f"GIT_{role}_{key}": f"test@{role}" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
        dvc = {f"DVC_{place}_DIR": f"{folder}-dvc" for place in ("SITE_CACHE", "SYSTEM_CONFIG", "GLOBAL_CONFIG")}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = kept | people | dvc | {"GIT_CONFIG_GLOBAL": os.devnull, "PATH": path}

    def run(self, *command, code=0, cwd=None, **environment):
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

    def dvc(self, *arguments, code=0, **environment):
        return self.run(*DVC, *arguments, code=code, **environment)

    def commit(self, message):
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)

    def clone(self, folder):
        """A fresh clone: without data, a cache, and all that Git does not keep."""
        self.run("git", "clone", "--quiet", str(self.folder), str(folder))
        return Project(folder)

    def copy_to(self, folder, *names):
        """Copy files and folders."""
        for name in names:
            source = self.folder / name
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)


def stages_run(output):
    """The stages that DVC ran; those taken from its cache are not among them."""
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage ")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project whose trainings were both killed and went on in a second `dvc repro`, committed; and its output."""
    project = Project(tmp_path_factory.mktemp("workflow") / "project")
    Project(ROOT).copy_to(project.folder, *COPIED, *FOLDERS)
    write_text(project.folder / "params.yaml", params_with(ROOT, TINY))
    for module, (many, few) in FEWER.items():
        path = project.folder / "src/oneshot/evaluation" / module
        path.write_text(path.read_text().replace(f"EPISODES{many}", f"EPISODES{few}"))
    project.run("git", "init", "--quiet", "--initial-branch=main")
    project.commit("code")

    killer = tmp_path_factory.mktemp("killer")
    (killer / "sitecustomize.py").write_text(KILL_TRAININGS)
    project.dvc("repro", "--keep-going", "train_classic", "train_meta", code=None, PYTHONPATH=str(killer))
    for method in METHODS:
        assert not (project.folder / f"results/trained/{method}/model.safetensors").exists()
    output = project.dvc("repro")
    project.commit("results")
    return project, output


@pytest.fixture
def project(finished):
    """The finished project, put back afterwards."""
    project, _ = finished
    yield project
    (project.folder / "params.yaml").touch()  # else Git may take a change of the same length for none
    if project.run("git", "status", "--porcelain", "--untracked-files=no"):
        project.run("git", "checkout", "--quiet", ".")
        project.dvc("checkout", "--quiet")


def test_everything_is_made_and_declared(finished):
    project, _ = finished
    committed = set(project.run("git", "ls-files", "metrics", "plots", "models").splitlines())
    assert {f"metrics/{name}.json" for name in (*METHODS, "evaluation", "comparison", "details/meta")} <= committed
    assert {"plots/comparison/roc.svg", "plots/meta/map.png", "models/meta.safetensors"} <= committed
    lock = yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"]
    made = [out["path"] for stage in lock.values() for out in stage["outs"]]
    assert [path for path in committed if not any(path == out or path.startswith(f"{out}/") for out in made)] == []


def test_killed_trainings_go_on_with_the_same_bytes(finished, tmp_path):
    project, output = finished
    project.copy_to(tmp_path, "params.yaml", "src", "stages", "data")
    for method in METHODS:
        assert f"going on from checkpoints/train_{method}-" in output
        project.run("python", f"stages/train_{method}.py", cwd=tmp_path)  # uninterrupted, without DVC
        ours, theirs = (folder / f"results/trained/{method}" for folder in (project.folder, tmp_path))
        assert {path.name for path in ours.iterdir()} == {path.name for path in theirs.iterdir()}
        for path in ours.iterdir():
            assert path.read_bytes() == (theirs / path.name).read_bytes(), path.name
    assert list(project.folder.glob("checkpoints/*.pt")) == []  # gone with the end of the trainings


def test_second_repro_does_nothing(project):
    assert stages_run(project.dvc("repro")) == set() and project.run("git", "status", "--porcelain") == ""


def test_classic_and_meta_have_the_same_few_metrics(project):
    files = json.loads(project.dvc("metrics", "show", "--json"))[""]["data"]
    classic, meta = (files[f"metrics/{method}.json"]["data"] for method in METHODS)
    assert list(classic) == list(meta) == list(HEADLINES)
    assert files["metrics/evaluation.json"] == files["metrics/meta.json"]
    assert list(files["metrics/comparison.json"]["data"]) == list(HEADLINES)
    assert all(0 <= value <= 1 for key, value in (classic | meta).items() if key != "threshold")
    shown = project.dvc("metrics", "show", COLUMNS="180").splitlines()
    assert len(shown) == 5 and max(map(len, shown)) <= 180


def test_a_clone_without_data_or_cache_compares_experiments_at_once(project, tmp_path):
    clone = project.clone(tmp_path / "clone")
    for method in METHODS:
        output = clone.dvc("exp", "run", "--allow-missing", "-n", method, "-S", f"training={method}")
        assert stages_run(output) <= {"check_params", "compare"}
        evaluation, expected = (clone.folder / f"metrics/{file}.json" for file in ("evaluation", method))
        assert evaluation.read_bytes() == expected.read_bytes()
    shown = clone.dvc("metrics", "diff", "classic", "meta").splitlines()
    assert 10 < len(shown) <= 15 and max(map(len, shown)) <= 100
    (experiments,) = re.findall(r"^experiments:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    typed = shlex.split(experiments.replace("\\\n", " ").replace("$(OPTIONS)", ""))[1:]  # after `dvc`
    lines = clone.dvc(*typed, COLUMNS="160").splitlines()
    assert max(map(len, lines)) <= 160 and all(word in lines[1] for word in ("triplet", "one_shot", "training"))
    assert not [path for name in ("data", "results/trained") for path in (clone.folder / name).rglob("*.*")]


def test_with_the_data_alone_a_clone_trains_what_an_experiment_changes(project, tmp_path):
    clone = project.clone(tmp_path / "clone")
    clone.dvc("repro", "download", "split_tasks")
    changes = ("-S", "meta_step=0.5", "-S", "reptile.inner_steps=3")
    output = clone.dvc("exp", "run", "--allow-missing", *changes)
    of_meta = {f"{stage}@meta" for stage in ("embed", "calibrate", "evaluate", "report", "export")}
    assert stages_run(output) == {"check_params", "train_meta", "compare"} | of_meta
    text = (clone.folder / "params.yaml").read_text()
    assert "meta_step: 0.5 " in text and "inner_steps: 3 " in text  # and their comments
    assert "reptile.inner_steps" in clone.dvc("params", "diff")


def test_an_edit_reruns_what_depends_on_it(project, monkeypatch):
    """What docs/code.md promises, a module for each kind of place."""
    both = {f"{stage}@{method}" for stage in ("calibrate", "evaluate", "report", "export") for method in METHODS}
    embeds, trainings, checks = {f"embed@{m}" for m in METHODS}, {"train_classic", "train_meta"}, {"check_params"}
    expected = {
        "common/errors.py": checks,
        "common/stage.py": checks,
        "sources/fetch.py": checks | {"download"},
        "data/split.py": checks | {"download", "split_tasks", "compare"} | trainings | embeds | both,
        "model/losses.py": checks | trainings | embeds | both,
        "hardware/device.py": checks | trainings | embeds | both,
        "training/loop.py": checks | trainings,
        "training/reptile.py": checks | {"train_meta"},
        "training/classic.py": checks | {"train_classic"},
        "adaptation/adapter.py": checks | both,
        "evaluation/metrics.py": checks | {"compare"} | both,
        "evaluation/embedded.py": checks | {"compare"} | embeds | both,
        "report/plots.py": checks | {"compare"} | {stage for stage in both if stage.startswith(("report", "export"))},
        "recognizer/cli.py": checks,
        "record/__init__.py": checks,
    }
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    with Repo(str(project.folder)) as repo:
        for module, stages in expected.items():
            path = project.folder / "src/oneshot" / module
            before = path.read_bytes()
            path.write_bytes(before + b"# edited\n")
            stale = {name.rpartition(":")[2] for name, what in repo.status().items() if "changed deps" in str(what)}
            path.write_bytes(before)
            assert stale == stages, module
        assert repo.status() == {}


def contents(project):
    """Of all that stages write."""
    folders = ("data", "results", "metrics", "plots", "models")
    paths = [path for folder in folders for path in (project.folder / folder).rglob("*")]
    return {path: path.read_bytes() for path in paths if path.is_file()}


def test_a_full_disk_ends_in_one_line_and_leaves_all_as_it_was(project):
    """A limit of zero bytes for every file stands for the disk; what is there must neither change nor go."""
    before = contents(project)
    code = """if True:
        import resource, runpy, sys
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        sys.path.insert(0, "stages")
        for stage in ("download", "split_tasks", "train_meta", "evaluate meta", "report meta", "compare"):
            sys.argv = stage.split()
            try:
                runpy.run_path(f"stages/{sys.argv[0]}.py", run_name="__main__")
            except SystemExit as end:
                assert end.code == 1, stage"""
    printed = project.run("python", "-c", code, TQDM_DISABLE="1", TORCHINDUCTOR_CACHE_DIR="unused")
    # Without that folder torch looks for one for temporary files, and it is this search that would fail.
    lines = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert len(lines) == 6 and all("File too large" in line and "free space" in line for line in lines), printed
    assert "Traceback" not in printed and contents(project) == before


def test_a_mistake_ends_in_one_line_before_anything_runs(project):
    for setting, told in (("bogus=1", "bogus"), ("meta_step=-1", "meta_step: found -1; must be above 0\n")):
        output = project.dvc("exp", "run", "-S", setting, code=None)
        assert told in output and "Traceback" not in output and stages_run(output) <= {"check_params"}


def test_config_runs_beside_the_results(project):
    config = project.folder / "configs/other.yaml"
    config.write_text("training: classic\n")
    output = project.run("python", "scripts/run_config.py", "configs/other.yaml")
    config.unlink()
    # The project's cache has the results of all others; these write what Git keeps.
    assert stages_run(output) <= {"check_params", "compare"} | {
        f"{stage}@{m}" for stage in ("report", "export") for m in METHODS
    }
    assert "training: classic " in (project.folder / "runs/other/params.yaml").read_text()  # and its comment
    evaluation, classic = (project.folder / f"runs/other/metrics/{name}.json" for name in ("evaluation", "classic"))
    assert evaluation.read_bytes() == classic.read_bytes()
    assert "runs/other/plots/" in output.splitlines()[-1]
    # What it leaves is a repository of its own, for experiments.
    project.run(*DVC, "exp", "run", "-S", "training=meta", cwd=project.folder / "runs/other")
    assert "evaluation.json" in project.run(*DVC, "metrics", "diff", cwd=project.folder / "runs/other")
    report = project.run("python", "scripts/write_report.py", "runs/other")
    assert "report.html: written" in report and (project.folder / "runs/other/report.html").stat().st_size > 10**5
    assert project.run("git", "status", "--porcelain") == ""


def test_a_folder_of_pictures_goes_through_the_whole_pipeline(project, tmp_path, digits):
    pictures = write_pictures(tmp_path / "pictures", digits, each=24)
    settings = {"dataset": pictures, "image_size": 16, "image_budget": 1600, "network.stem": 4, "hardware.threads": 1,
                "network.widths": "[4, 8, 16]", "classic.batch_classes": 4, "reptile.task_classes": 4}  # fmt: skip
    options = [option for key, value in settings.items() for option in ("--set", f"{key}={value}")]
    project.run("python", "scripts/run_config.py", "configs/folder.yaml", *options)
    folder = project.folder / "runs/folder"
    assert len(list(folder.glob("plots/*/*.png"))) == 6 and (folder / "metrics/meta.json").exists()
    # What came out is at once of use, on the pictures themselves.
    asked, gallery = [str(path) for path in sorted(pictures.rglob("*.png"))[:3]], tmp_path / "known.safetensors"
    options = ("--gallery", str(gallery), "--model", str(folder / "models/meta.safetensors"))

    def oneshot(*arguments):
        return project.run("python", "-m", "oneshot", *arguments, *options, cwd=folder / "src")

    oneshot("enroll", str(pictures))
    rows = json.loads(oneshot("classify", *asked, "--json"))
    assert [row["picture"] for row in rows] == asked
    assert all(row["nearest"] in digits.class_names and -1 <= row["score"] <= 1 for row in rows)


def test_results_are_shared_through_a_folder(project, tmp_path):
    project.dvc("remote", "add", "--default", "--local", "storage", str(tmp_path / "storage"))
    project.dvc("push")
    clone = project.clone(tmp_path / "clone")
    assert not (clone.folder / "results").exists() and (clone.folder / "models/meta.safetensors").exists()
    clone.dvc("remote", "add", "--default", "--local", "storage", str(tmp_path / "storage"))
    clone.dvc("pull")
    model = "results/trained/meta/model.safetensors"
    assert (clone.folder / model).read_bytes() == (project.folder / model).read_bytes()
    assert json.loads(clone.dvc("status", "--json")) == {}
    assert stages_run(clone.dvc("repro")) == set()
