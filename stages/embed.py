"""Embed all images by a trained network: `embed.py classic` or `embed.py meta`."""

import _checkout  # noqa: F401

from pathlib import Path

from oneshot.common.params import load_params
from oneshot.common.stage import run_stage
from oneshot.evaluation.embedded import EmbeddingStage, chosen_method, embed_all


def main() -> None:
    method = chosen_method()
    model, output = Path(f"results/trained/{method}/model.safetensors"), Path(f"results/embedded/{method}")
    embed_all(load_params(EmbeddingStage), model, Path("data/dataset"), Path("data/split.json"), output)


if __name__ == "__main__":
    run_stage(main)
