"""A network that was never trained, pictures that it tells apart, and the command line."""

import numpy as np
import pytest
import torch
from PIL import Image

from oneshot.model.model_file import save_model
from oneshot.model.network import NetworkConfig, SiameseNetwork
from oneshot.recognizer import Recognizer, cli
from oneshot.report.model_card import about_model

THRESHOLD = 0.97
ROC = [{"threshold": t, "fpr": f, "tpr": f**0.5} for t, f in ((0.99, 0.1), (0.97, 0.2), (0.5, 0.6), (-1.0, 1.0))]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network with random weights: it tells plain colours from patterns well enough."""
    torch.manual_seed(0)
    shape = {"stem": 4, "widths": [4, 8, 16], "blocks": 1, "first_stride": 1, "embedding_norm": True}
    network = SiameseNetwork(NetworkConfig(**shape, mean=[120.0] * 3, std=[60.0] * 3))
    network(torch.randint(0, 256, (64, 3, 16, 16), dtype=torch.uint8))  # statistics of batch norm
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    about = {"method": "meta", "images": 1, "image_size": 16, "seen_classes": ["a", "b"]}
    save_model(path, network, about_model(about, THRESHOLD, ROC, tta="flip"), half=True)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Folders red, stripes and noise, of three pictures each, of different sizes and formats."""
    root, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number, suffix in enumerate(("png", "jpg", "webp")):
        side = 16 * (number + 1)
        red = np.tile([220.0 - 5 * number, 10, 10], (side, side, 1))
        stripes = np.where(np.arange(side)[:, None, None] // (side // 4) % 2 > 0, 250, 5) + np.zeros((side, side, 3))
        noise = np.kron(random.integers(0, 256, (4, 4, 3)), np.ones((side // 4, side // 4, 1)))
        for name, values in (("red", red), ("stripes", stripes), ("noise", noise)):
            (root / name).mkdir(exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(root / name / f"{number}.{suffix}")
    return root


@pytest.fixture(scope="module")
def recognizer(model):
    return Recognizer(model)


@pytest.fixture
def run(capsys, model):
    """The command line, with this network or another: exit code and both outputs."""

    def command(*arguments, model=model):
        with pytest.raises(SystemExit) as caught:
            cli.main([*map(str, arguments), *(["--model", str(model)] if model else [])])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return command
