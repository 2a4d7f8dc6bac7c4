"""Puts this checkout's src/ first, so that copies of the project (DVC's queue makes them) run their own code."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
