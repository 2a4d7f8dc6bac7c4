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


def test_without_the_rights_to_make_two_machines_it_says_so(monkeypatch):
    monkeypatch.setattr(_two_machines.os, "geteuid", lambda: 1000)
    told = refusal(_two_machines.two_machines(10).__enter__)
    assert "found user 1000, " in told and "must be root" in told
