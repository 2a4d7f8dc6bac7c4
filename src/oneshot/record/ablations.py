"""Short runs that are judged on validation classes: what each change of the recipe costs or brings."""

from __future__ import annotations

from statistics import mean

from oneshot.record.markdown import percent, table
from oneshot.record.statistics import luck_band
from oneshot.record.studies import NotRun, Record, Study
from oneshot.report.comparison import METHODS, headlines

BASE, SEEDS = "ablation_none", "ablation_seed_"  # the short run that changes nothing, and it with other random numbers
# What the names of a table's lines begin with, and the trainings that it shows.
TABLES = {
    "recipe": (("ablation_",), METHODS),
    "reptile": ((BASE, "meta_"), ("meta",)),
    "longer": ((BASE, "twice_", "four_times_"), METHODS),
}


def changes(record: Record, kind: str) -> str:
    """What each short run of one of TABLES gives, by what it changes, beside the one that changes nothing."""
    beginnings, methods = TABLES[kind]
    rows = []
    for name, study in _short(record).items():
        if name.startswith(beginnings) and not name.startswith(SEEDS):
            figures = [headlines(study[method])[key] for method in methods for key in ("triplet", "one_shot")]
            changed = ", ".join(f"`{change}`" for change in _changed(record, name))
            what = f"{record.lines[name]['why']}: {changed}" if changed else "nothing"
            rows.append([what, *map(percent, figures)])
    heading = [f"{method}, {words}" for method in methods for words in ("triplet", "one-shot")]
    return table(["changed", *heading], rows)


def luck(record: Record) -> str:
    """A sentence on what luck does to a line of the tables."""
    short = _short(record)
    classic, meta = (_unchanged(short, method) for method in METHODS)
    if len(classic) < 2:
        return "How much of a difference is luck, other seeds have yet to show."
    return (
        f"Over {len(classic)} seeds of {short[BASE]['meta']['record']['images']:,} images the unchanged line has a "
        f"mean of {percent(mean(classic))} (classic) and {percent(mean(meta))} % (meta) of triplet accuracy. "
        f"From these means, less than {percent(luck_band([classic, meta]))} points may be luck."
    )


def _short(record: Record) -> dict[str, Study]:
    """The lines that start from configs/ablation.yaml and have figures."""
    lines = record.lines
    short = {name: study for name, study in record.done.items() if lines[name].get("config") == "configs/ablation.yaml"}
    if BASE not in short:
        raise NotRun("make studies")
    return short


def _unchanged(short: dict[str, Study], method: str) -> list[float]:
    """Triplet accuracy of the short run that changes nothing, once for each seed."""
    return [headlines(study[method])["triplet"] for name, study in short.items() if name.startswith((BASE, SEEDS))]


def _changed(record: Record, name: str) -> list[str]:
    """What a line sets, as YAML."""
    values = record.lines[name]["set"].items()
    return [f"{key}: {str(value).lower() if isinstance(value, bool) else value}" for key, value in values]
