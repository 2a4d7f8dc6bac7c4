"""Put both networks into models/, small and ready for use, each with its model card."""

import _checkout  # noqa: F401

from pathlib import Path

from oneshot.comparison import METHODS
from oneshot.files import read_json, read_table, write_text
from oneshot.model_card import model_card
from oneshot.network import load_model, save_model
from oneshot.params import load_params
from oneshot.recognizer import about_model
from oneshot.stage import run_stage


def main() -> None:
    params = load_params()
    for method in METHODS:
        trained, evaluated = Path(f"results/trained/{method}"), Path(f"results/evaluated/{method}")
        threshold = read_json(f"results/calibrated/{method}/thresholds.json")["frozen"]["threshold"]
        network, about = load_model(trained / "model.pt")
        about = about_model(about, threshold, read_table(evaluated / "roc.csv"), params.views)
        save_model(f"models/{method}.pt", network, about, half=True)
        novel, weights = read_table(evaluated / "novel_classes.csv"), read_json(trained / "record.json")["weights"]
        about |= {"dimensions": network.dimensions}
        card = model_card(params.dataset, about, network.config, weights, read_json(evaluated / "metrics.json"), novel)
        write_text(f"models/{method}.md", card)
        print(f"models/{method}.pt: threshold {threshold:.3f}")


if __name__ == "__main__":
    run_stage(main)
