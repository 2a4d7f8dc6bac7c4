"""Where does meta-learning pay? The questions of studies/questions.yaml, answered by docs/regimes.md's rules."""

from __future__ import annotations

from typing import Any

import numpy as np

from oneshot.common.files import read_json, read_yaml
from oneshot.record.folds import MARGIN
from oneshot.record.markdown import estimated, percent, table
from oneshot.record.statistics import interval
from oneshot.record.studies import NotRun, Record

ROWS = 4  # of a table; the file has all


def questions(record: Record) -> str:
    """Each question, what was fixed before its runs, the outcome and a table."""
    asked = read_yaml(record.root / "studies/questions.yaml", dict[str, dict[str, str]])
    parts = []
    for name, question in asked.items():
        parts += [f"## {name.replace('_', ' ').capitalize()}", question["question"]]
        parts.append("\n".join(f"- {key.capitalize()}: {question[key]}." for key in ("figure", "runs")))
        file = record.root / f"studies/{name}.json"
        if not file.exists():
            parts.append(f"Not run yet: `python {question['script']}` does.")
            continue
        answer = read_json(file, dict[str, Any])  # by `write_answer` in regimes/_question.py
        sure = 1 - 0.05 / len(asked)
        parts += [f"**{outcome(answer, sure)}**", _figures(answer, sure), *filter(None, [answer["about"].get("note")])]
    return "\n\n".join(parts)


def papers_reptile(record: Record) -> str:
    """5-way accuracy by the paper's own network and numbers, beside the paper's.

    Raises:
        NotRun: it has not been run.
    """
    file = record.root / "studies/omniglot_reptile.json"
    if not file.exists():
        raise NotRun("python regimes/omniglot_reptile.py")
    found = read_json(file, dict[str, Any])
    rows = [
        [f"{shots}-shot", f"{here['accuracy']:.2f} ± {here['ci95']:.2f}", f"{found['paper'][shots]:.2f}"]
        for shots, here in found["five_way"].items()
    ]
    return table(["5-way, in %", f"here, {found['outer_steps']:,} outer steps", "paper, 100,000 outer steps"], rows)


def outcome(answer: dict[str, Any], sure: float) -> str:
    """What the first figure says: the difference, its interval over pairs, and what that is called."""
    decides = answer["figures"][0]
    gap, half = interval(np.subtract(decides["second"], decides["first"]), sure)
    assert half is not None
    if gap - half > 0 or gap + half < 0:
        called = f"{answer['second']} is {'better' if gap > 0 else 'worse'}"
    else:
        called = "No difference" if abs(gap) + half < MARGIN else "Not decided"
    return f"{called}: {percent(gap)} ± {percent(half)} points over {len(answer['pairs'])} pairs."


def _figures(answer: dict[str, Any], sure: float) -> str:
    rows = []
    for row in answer["figures"][:ROWS]:
        first, second = np.array(row["first"]), np.array(row["second"])
        cells = [percent(first.mean()), percent(second.mean()), estimated(*interval(second - first, sure))]
        rows.append([row["what"], *cells])
    return table(["in %", answer["first"], answer["second"], f"difference, {100 * sure:g} %"], rows)
