"""Put a network into models/, small and ready for use, with its model card: `export.py classic` or `export.py meta`."""

import _checkout  # noqa: F401

from pathlib import Path

from oneshot.common.files import read_json, read_table, write_text
from oneshot.common.params import load_params
from oneshot.common.stage import run_stage
from oneshot.evaluation.embedded import chosen_method
from oneshot.model.model_file import load_model, save_model
from oneshot.report.comparison import headlines, held_out
from oneshot.report.model_card import ExportStage, about_model, model_card


def main() -> None:
    method, params = chosen_method(), load_params(ExportStage)
    evaluated = Path(f"results/evaluated/{method}")
    details, classes = read_json(evaluated / "details.json"), read_table(evaluated / "classes.csv")
    network, trained = load_model(f"results/trained/{method}/model.safetensors")
    about = about_model(trained, details["threshold"], read_table(evaluated / "roc.csv"), params.evaluation.tta)
    save_model(f"models/{method}.safetensors", network, about, half=True)
    card = model_card(params.dataset, about, network, headlines(details), classes, held_out(details))
    write_text(f"models/{method}.md", card)
    print(f"models/{method}.safetensors: threshold {details['threshold']:.3f}")


if __name__ == "__main__":
    run_stage(main)
