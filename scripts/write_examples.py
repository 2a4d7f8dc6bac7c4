"""Write examples/: of each class that training never saw, a picture to know it by and another to recognise.

    python scripts/write_examples.py      (after `dvc repro`)

examples/known/ has the first training image of each unseen class, examples/new/ its first test image: none is chosen.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import numpy as np
from PIL import Image

from oneshot.dataset import load_dataset
from oneshot.files import write_bytes
from oneshot.split import load_split
from oneshot.stage import run_stage


def main() -> None:
    dataset, split = load_dataset(ROOT / "data/dataset"), load_split(ROOT / "data/split.json")
    shutil.rmtree(ROOT / "examples", ignore_errors=True)
    for label in split.unseen:
        first = {
            "known": dataset.train_images[split.support[label][0]],
            "new": dataset.test_images[np.flatnonzero(dataset.test_labels == label)[0]],
        }
        for folder, image in first.items():
            buffer = io.BytesIO()
            Image.fromarray(image.squeeze()).save(buffer, "PNG")
            write_bytes(ROOT / "examples" / folder / f"{dataset.class_names[label]}.png", buffer.getvalue())
    print(f"examples/: {len(split.unseen)} classes written")


if __name__ == "__main__":
    run_stage(main)
