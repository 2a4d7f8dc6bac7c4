"""The page of costs is what benchmarks/results.json holds, and says so where there is nothing."""

import json
import shutil

import write_speed
from helpers import ROOT
from run_studies import default_digest
from write_speed import NOT_RUN, load, page, summary


def spread(value):
    return {"median": value, "from": 0.9 * value, "to": 1.1 * value}


MACHINE = {"hardware": "A Processor", "device": "cpu", "threads": 2, "precision": "bf16", "torch": "2.0"}
BARE = {
    "batch_size": 128,
    "milliseconds": {},
    "images_per_second": {"classic": spread(2000.0)},
    "to_bare_loop": {"classic": spread(1.03), "meta": spread(1.04)},
}


def project(folder, **parts):
    (folder / "benchmarks").mkdir()
    results = {name: {"machine": MACHINE, "found": found} for name, found in parts.items()}
    (folder / "benchmarks/results.json").write_text(json.dumps(results))
    return folder


def test_nothing_measured_is_said(tmp_path):
    assert summary(tmp_path) == NOT_RUN and NOT_RUN in page(tmp_path)


def test_ratios_stand_with_their_quartiles_and_the_machine(tmp_path):
    text = summary(project(tmp_path, against_bare_loop=BARE, repro_with_nothing_to_do=None))
    assert "| a step of meta training, against a bare loop on one resident batch | 1.04 (0.94 to 1.14) times |" in text
    assert "| images a second in training | 2,000 (1,800 to 2,200) |" in text
    assert text.endswith("Measured on A Processor (cpu, threads: 2), bf16, torch 2.0.")
    assert "nothing to do" not in text  # it was not up to date, so that nothing was measured


def test_learning_is_shown_of_shorter_runs_of_the_present_default(tmp_path, monkeypatch):
    (tmp_path / "studies").mkdir()
    shutil.copy(ROOT / "params.yaml", tmp_path)
    studies = {}
    monkeypatch.setattr(write_speed, "load_studies", lambda: studies)
    for images, accuracy in ((300_000, 0.95), (400_000, 0.87), (700_000, 0.884), (900_000, 0.89), (9_000_000, 0.9)):
        changed = {"image_budget": images, "threads": 1} | ({"seed": 2} if images == 900_000 else {})
        studies[f"budget_{images}"] = {"why": "", "set": changed}
        run = {"parameters": changed, "record_classic": {"images": images}}
        run |= {"classic": {"unseen": {"triplet_accuracy": accuracy}}}
        run |= {"default": default_digest(run["parameters"]) if images != 300_000 else "of another default"}
        (tmp_path / f"studies/budget_{images}.json").write_text(json.dumps(run))
    text = summary(project(tmp_path, against_bare_loop=BARE))
    assert "| triplet accuracy on unseen classes after 400,000 images, about 3 minutes, classic | 87.00 % |" in text
    assert "700,000 images, about 6 minutes" in text and not any(
        images in text for images in ("900,000", "300,000", "9,000,000")
    )
    assert "| the reference's triplet accuracy, on classes that it had seen | 88.34 % |" in text


def test_random_triplets_stand_beside_them_and_say_whether_they_passed(tmp_path, monkeypatch):
    monkeypatch.setattr(write_speed, "load_studies", lambda: {"random_triplets": {"why": "", "set": {}}})
    (tmp_path / "studies").mkdir()
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for accuracy, cell in (
        (0.8, "classic 80.00 %, meta 78.00 %: below the reference's 88.34 %"),
        (0.9, "classic 90.00 %, meta 88.00 %"),
    ):
        run = {"parameters": {}, "default": default_digest({}), "record_classic": {"images": 1_000_000}}
        run |= {m: {"unseen": {"triplet_accuracy": accuracy - lag}} for m, lag in (("classic", 0), ("meta", 0.02))}
        (tmp_path / "studies/random_triplets.json").write_text(json.dumps(run))
        assert f"random triplets alone, by Muon too, after 1,000,000 images | {cell} |" in summary(
            project(tmp_path, against_bare_loop=BARE)
        )
        shutil.rmtree(tmp_path / "benchmarks")


def test_the_committed_page_is_that_of_the_committed_results():
    assert (ROOT / "docs/speed.md").read_text() == page(ROOT)
    for part in load(ROOT).values():
        assert part["machine"]["hardware"]
