"""The project that a script stands in; its src/ comes first, so that copies of the project run their own code."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
