"""The page of costs is what benchmarks/results.json holds."""

from made_up import make_project

from oneshot.common.files import write_json
from oneshot.record.pages import part
from oneshot.record.studies import Record


def spread(value):
    return {"median": value, "from": 0.9 * value, "to": 1.1 * value}


MACHINE = {"hardware": "A CPU", "device": "cpu", "threads": 2, "precision": "bf16", "torch": "2.0"}
BARE = {"images_per_second": spread(2000.0), "to_bare_loop": {"classic": spread(1.03), "meta": spread(1.04)}}
FOUND = {
    "against_bare_loop": BARE,
    "repro_with_nothing_to_do": None,  # it was not up to date
}
GPU = {
    "images_per_second": {"classic, recorded": spread(60_000.0)},
    "copied_gb_per_second": 3_000,
    "least_bytes_of_an_image": 700_000,
}


def project(folder):
    """A made-up project with these parts measured on one machine, and another one on a second."""
    measured = {
        "A CPU": {name: {"machine": MACHINE, "found": found} for name, found in FOUND.items()},
        "A GPU": {"recorded_steps": {"machine": MACHINE | {"device": "cuda"}, "found": GPU}},
    }
    write_json(make_project(folder) / "benchmarks/results.json", measured)
    return folder


def test_ratios_stand_with_their_quartiles_and_the_machine(tmp_path):
    record = Record(project(tmp_path))
    text = part("speed", record)
    assert (
        "step of meta training, against a plain PyTorch loop on one batch in memory | 1.04 (0.94 to 1.14) times |  |"
        in text
    )
    assert "| images a second in training | 2,000 (1,800 to 2,200) |  |" in text
    share = "60,000 (54,000 to 66,000): 1.40 % of what memory at 3,000 GB/s allows"
    assert f"| images a second, classic, recorded |  | {share} |" in text
    assert text.startswith("| measure | A CPU | A GPU |")
    assert text.endswith("A CPU: cpu, threads: 2, bf16, torch 2.0. A GPU: cuda, threads: 2, bf16, torch 2.0.")
    assert "nothing to do" not in text
    assert part("stages", record) == "Not run yet: `make bench PARTS='against_bare_loop stages'` does."
    FOUND["stages"] = {"train_meta": {"seconds": 9.0, "gib": 1.26}, "compare": {"seconds": 4.2, "gib": 0.08}}
    table = part("stages", Record(project(tmp_path / "measured")))
    assert "| stage, A CPU | seconds | GiB |" in table and "| compare | 4 | 0.08 |" in table
    assert "| train_meta | 650 | 1.26 |" in table  # 1,300,000 images at 2,000 a second
