"""The pages are what their sources say, and the generated parts are made rightly of known figures."""

import re

import numpy as np
import pytest
import yaml
from helpers import ROOT, refusal
from made_up import add_study, details, make_project

from oneshot.common.files import read_json, write_json, write_table, write_text
from oneshot.record import tables
from oneshot.record.folds import FIRST_LOOK
from oneshot.record.pages import MARK, PARTS, PICTURES, filled, part
from oneshot.record.studies import Record

PAGES = ("README.md", *(f"docs/{path.name}" for path in sorted(ROOT.glob("docs/*.md"))))


@pytest.fixture(scope="module")
def committed():
    """The record of this project."""
    return Record(ROOT)


@pytest.mark.parametrize("page", PAGES)
def test_page_is_up_to_date_with_its_sources(page, committed):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert filled(text, page, committed) == text, f"{page} is not up to date: run `make pages`"


@pytest.mark.parametrize("picture", PICTURES)
def test_picture_has_the_words_of_its_sources(picture, committed, tmp_path):
    PICTURES[picture](committed, tmp_path / "a.svg")
    drawn, shown = (re.findall("<!-- (.+?) -->", path.read_text()) for path in (tmp_path / "a.svg", ROOT / picture))
    assert drawn == shown, f"{picture} is not up to date: run `make pages`"


def test_every_part_stands_on_a_page():
    texts = [(ROOT / page).read_text(encoding="utf-8") for page in PAGES]
    assert {name for text in texts for name, _ in MARK.findall(text)} == set(PARTS)


def test_filling_changes_generated_parts_alone_and_a_mistake_in_the_marks_is_named(tmp_path):
    record = Record(make_project(tmp_path))
    text = "# Page\n\n<!-- seeds:begin -->\nold\n<!-- seeds:end -->\n\nmore <!-- luck:begin --><!-- luck:end -->\n"
    new = filled(text, "page.md", record)
    assert new.startswith("# Page\n\n<!-- seeds:begin -->\n\n| in %, ") and "\nold\n" not in new
    assert "\n\n<!-- seeds:end -->\n\nmore <!-- luck:begin -->\n\nNot run yet: `make studies` does." in new
    assert filled(new, "page.md", record) == new
    for odd in (text.replace("seeds:end", "seeds:begin"), text.replace("luck", "sneeze"), text + "<!-- luck:begin -->"):
        assert re.match("page.md: (each|has no part sneeze; there are )", refusal(filled, odd, "page.md", record))


def test_before_the_first_run_a_part_says_what_makes_it(tmp_path):
    makes = {"seeds": "dvc repro", "recipe": "make studies", "folds": "make folds", "speed": "make bench"}
    makes |= {"stage_kills": "make torture", "papers_reptile": "python regimes/omniglot_reptile.py"}
    for name, command in makes.items():
        assert part(name, Record(tmp_path)) == f"Not run yet: `{command}` does."


OF_ONE_RUN = {
    "single": [
        "| triplet accuracy, unseen classes | `triplet` | 90.00 | 87.50 | -2.50 |",
        "`one_shot` | 60.00 ± 1.23 | 60.00 ± 1.23 | +0.00 |",
        "| calibrated threshold, a cosine | `threshold` | 0.500 | 0.500 |  |",
    ],
    "adapted": ["| none: as trained | 90.00 | 87.50 | 80.00 | 80.00 |"],
    "episodes": ["| 1 | adapted | 60.00 ± 1.23 | 60.00 ± 1.23 |"],
    "reference": ["| 83.06 | 80.00 | 80.00 | 55.00 | `unseen_reference.binary_accuracy` |"],
    "setting": ["Chip (cpu, threads: 2), fp32", "willow tree, worm"],
    "thresholds": ["| the best single one, known in hindsight | 85.00 | 85.00 |"],
    "near_duplicates": ["7 test images have a near-duplicate", "classes is 90.00 and 87.50 %, with them 90.00 and"],
    "seeds": ["| in %, 1 seed |"],
}


def test_tables_of_one_run(tmp_path):
    record = Record(make_project(tmp_path))
    for name, pieces in OF_ONE_RUN.items():
        found = part(name, record) if name in PARTS else getattr(tables, name)(record)  # which the report alone has
        assert [piece for piece in pieces if piece not in found] == []
    for method in ("classic", "meta"):
        write_json(tmp_path / f"metrics/details/{method}.json", details(group="validation"))
    record = Record(tmp_path)
    assert "| `triplet` | 90.00 | 90.00 | +0.00 |" in tables.single(record)
    assert "| 1 | adapted | 60.00" in tables.episodes(record)


def test_seeds_are_averaged_with_students_interval(tmp_path):
    folder = make_project(tmp_path)
    add_study(folder, "seed_2", details(0.92), details(0.915))
    table = part("seeds", Record(folder))
    # Means of 90 and 92, and 87.5 and 91.5; Student's t of one degree of freedom, 12.706, times the standard error.
    assert "2 seeds" in table and "| 91.00 ± 12.71 (classes: ± 12.71) | 89.50 ± 25.41 (classes: " in table
    assert "-1.50 ± 12.71 |" in table  # meta less classic: -2.5 and -0.5


@pytest.mark.parametrize(
    ("gaps", "words"),
    [
        (
            (0.013, 0.017, 0.015),
            "Reptile is better than classic training. Triplet accuracy, meta - classic: 1.50 ± 0.72 p",
        ),
        ((-0.003, -0.0031, -0.0029), "Reptile is worse than classic training, and equivalent to it. "),
        ((0.001, -0.001, 0), "Reptile is equivalent to classic training. "),
        ((0.02, -0.02, 0), "not decided"),
    ],
)
def test_the_outcome_over_folds_is_called_as_its_rules_say(tmp_path, gaps, words):
    folder = make_project(tmp_path)
    write_table(folder / FIRST_LOOK, [{"triplet": gap} for gap in (0.0, 0.02)])
    lines = [line for line in (folder / "studies/runs.yaml").read_text().splitlines() if "fold" not in line]
    lines += [f"fold_{fold}: {{why: '', set: {{split.unseen: fold_{fold}}}}}" for fold in (1, 2, 3)]
    (folder / "studies/runs.yaml").write_text("\n".join(lines))
    for fold, gap in enumerate(gaps, 1):
        assert part("folds", Record(folder)) == "Not run yet: `make folds` does."
        add_study(folder, f"fold_{fold}", details(0.8 + fold / 100), details(0.8 + fold / 100 + gap))
    summary = part("folds", Record(folder))
    assert f"Outcome: {words}" in summary and "over 3 folds" in summary
    assert "with a default of half the cost: 1.00 ± 25.45 points, not decided." in summary
    assert "Hardest classes, triplet accuracy: worm 89.00" in summary
    assert "has a standard deviation of 1.00 points" in summary


@pytest.mark.parametrize(
    ("gaps", "words"),
    [
        ((0.03, 0.05, 0.04), "meta is better: 4.00 ± 3.58 points over 3 pairs."),  # at 95 % it would be ± 2.48
        ((-0.03, -0.05, -0.04), "meta is worse: -4.00"),
        ((0.02, 0.05, 0.04), "Not decided: 3.67"),
        ((0.0001, -0.0001, 0), "No difference: 0.00"),
    ],
)
def test_a_question_is_answered_as_its_rules_say(tmp_path, gaps, words):
    asked = {name: {key: f"{name}'s {key}" for key in ("question", "figure", "runs", "script")} for name in "ab"}
    write_text(tmp_path / "studies/questions.yaml", yaml.safe_dump(asked))
    first = [0.8, 0.7, 0.6]
    figures = [{"what": "5-shot", "first": first, "second": list(np.add(first, gaps))}]
    answer = {"first": "classic", "second": "meta", "pairs": ["1", "2", "3"], "figures": figures}
    write_json(tmp_path / "studies/b.json", answer | {"about": {"note": "Said beside it."}})
    shown = part("questions", Record(tmp_path))
    assert shown.startswith("## A\n\na's question\n\n- Figure: a's figure.") and shown.endswith("\n\nSaid beside it.")
    for piece in ("Not run yet: `python a's script` does.", f"**{words}", "difference, 97.5 %", "| 5-shot | 70.00 |"):
        assert piece in shown


def test_the_papers_reptile_stands_beside_the_paper(tmp_path):
    found = {"5": {"accuracy": 97.616, "ci95": 0.304}}
    write_json(tmp_path / "studies/omniglot_reptile.json", {"five_way": found, "paper": {"5": 98.9}, "outer_steps": 7})
    assert part("papers_reptile", Record(tmp_path)).endswith("\n| 5-shot | 97.62 ± 0.30 | 98.90 |")


def test_runs_stand_beside_the_one_that_they_differ_from(tmp_path):
    folder = make_project(tmp_path)
    add_study(folder, "unseen_20", details())
    assert part("splits", Record(folder)) == "Not run yet: `python scripts/run_studies.py short` does."
    add_study(folder, "short", details(0.91))
    table = part("splits", Record(folder))
    assert "| 90 seen, 10 unseen | 91.00 | 91.00 | 60.00 | 60.00 |\n| 80 seen, 20 unseen | 90.00 |" in table
    assert "50 seen" not in table and "unseen in all" not in table
    study = read_json(folder / "studies/unseen_20.json")
    write_json(folder / "studies/unseen_20.json", study | {"classes": [*study["classes"], {"class": "yak"}]})
    table = part("splits", Record(folder))
    assert "the 2 classes unseen in all, meta |" in table and table.endswith("| 60.00 | 60.00 | 90.00 | 90.00 |")


def test_ablations_are_shown_by_what_they_change(tmp_path):
    folder = make_project(tmp_path)
    add_study(folder, "ablation_none", details(0.8, group="validation"))
    assert "have yet to show" in part("luck", Record(folder))
    add_study(folder, "ablation_seed_2", details(0.82, group="validation"))
    add_study(folder, "ablation_norm", details(0.7, group="validation"))
    record = Record(folder)
    assert "| features cannot be negative: `network.embedding_norm: false` | 70.00 | 60.00 |" in part("recipe", record)
    assert part("reptile", record).endswith("| nothing | 80.00 | 60.00 |")
    # Two seeds of variance 2 points^2; Student's t with 2 degrees of freedom is 4.303, times sqrt(2 * 1.5).
    assert "of 1,234 images the unchanged line has a mean of 81.00 (classic) and 81.00 % (meta)" in part("luck", record)
    assert "less than 7.45 points" in part("luck", record)


def test_kills_are_counted(tmp_path):
    killed = {"runs": 50, "same_bytes": 50, "files_compared": 40, "kills": 3, "dvc_files_cut_short": 1}
    tally = {"random_moments": killed, "each_stage": killed | {"dvc_files_cut_short": 0}}
    tally |= {"made_up_input": {"a damaged split": 3000}, "two_at_once": {"pairs": 20, "done": 25, "refused": 15}}
    write_json(tmp_path / "docs/torture.json", tally)
    record = Record(tmp_path)
    random, aimed = part("random_kills", record), part("stage_kills", record)
    assert "**50 of 50** runs, killed 3 times" in random
    assert "1 of the kills hit DVC while it wrote a file of its own" in random and "hit DVC" not in aimed
    assert part("made_up_input", record).startswith("3,000 made-up or damaged files")
    assert "25 came to their end, 15 were refused in one line, 0 were killed" in part("two_at_once", record)
