"""Two machines on a slow network: the images that a time allows, and what the answer sets side by side."""

import _two_machines
import pytest
import slow_network
from helpers import refusal


@pytest.mark.parametrize(
    ("seconds", "images", "allowed"),
    [(4.0, 128, 30 * 128), (4.1, 128, 29 * 128), (9.0, 7680, 13 * 7680), (0.25, 128, 480 * 128), (121.0, 7680, 0)],
)
def test_the_time_allows_whole_steps(seconds, images, allowed):
    assert slow_network.images_allowed(seconds, images) == allowed


def test_the_answer_compares_by_network_and_the_slowest_decides(monkeypatch):
    answers = []
    monkeypatch.setattr("sys.argv", ["slow_network.py"])
    monkeypatch.setattr(slow_network, "speed", lambda *_: {"images": 1280})
    monkeypatch.setattr(slow_network, "read_json", lambda path: {"hardware": "a processor"})
    monkeypatch.setattr(slow_network, "write_answer", lambda *given: answers.append(given))
    monkeypatch.setattr(slow_network, "trained", lambda name, *_: dict.fromkeys(slow_network.MEASURED, name))
    slow_network.main()
    ((_, arms, folds, figures, about),) = answers
    assert arms == ("classic", "meta") and folds == slow_network.FRESH and set(arms) < set(about)
    assert next(iter(figures)) == "triplet accuracy at 10 Mbit, fresh folds" and len(figures) == 8
    for words, (classic, meta) in figures.items():
        mbit, those = words.split()[-4], slow_network.FRESH if "fresh" in words else slow_network.FIRST
        assert classic == [f"classic_{mbit}_{fold}" for fold in those], words
        assert meta == [f"meta_{mbit}_{fold}" for fold in those], words


def test_without_the_rights_to_make_two_machines_it_says_so(monkeypatch):
    monkeypatch.setattr(_two_machines.os, "geteuid", lambda: 1000)
    told = refusal(_two_machines.two_machines(10).__enter__)
    assert "found user 1000, " in told and "must be root" in told
