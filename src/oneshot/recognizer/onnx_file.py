"""A trained network as one file in ONNX, which runs without PyTorch: pictures of 8 bits to unit vectors."""

from __future__ import annotations

import argparse
import json

import torch
from torch import Tensor, nn

from oneshot.common.errors import UserError
from oneshot.common.files import new_file, write_bytes
from oneshot.model.embedding import embed_views
from oneshot.recognizer.recognizer import NAMES, Recognizer

OPSET = 18  # the first that resizes as one of the views needs it


class Embedder(nn.Module):
    """Images (N, C, side, side) of uint8 to what `Recognizer` gives for them, unit vectors (N, D) float32."""

    def __init__(self, recognizer: Recognizer) -> None:
        super().__init__()
        self.network, self.tta = recognizer.network, recognizer.tta

    def forward(self, images: Tensor) -> Tensor:
        return embed_views(self.network, images, self.tta)


def onnx_file(recognizer: Recognizer, **more: str) -> bytes:
    """The content of the file: `images` in, `vectors` out, of any N.

    Its metadata are what the model file says but for the shape of the network, and `more`: text as it is, all else as
    JSON. The same versions of the packages give the same bytes.
    """
    try:
        from onnx_ir.passes.common import ClearMetadataAndDocStringPass  # comes with onnxscript
    except ImportError:
        raise UserError("oneshot export --onnx needs the extra `onnx`: pip install 'oneshot[onnx]'") from None
    images = torch.zeros(2, recognizer.channels, recognizer.side, recognizer.side, dtype=torch.uint8)
    program = torch.onnx.export(
        Embedder(recognizer).eval(), (images,), dynamo=True, opset_version=OPSET, verbose=False,
        input_names=["images"], output_names=["vectors"], dynamic_shapes=({0: torch.export.Dim("N")},),
    )  # fmt: skip
    assert program is not None
    ClearMetadataAndDocStringPass()(program.model)  # lines of code, and where they lie on this machine
    for key, value in (recognizer.about | {"name": recognizer.path.stem} | more).items():
        program.model.metadata_props[key] = value if isinstance(value, str) else json.dumps(value)
    return program.model_proto.SerializeToString()


def run_export(options: argparse.Namespace) -> None:
    """`oneshot export`: a file that is there is not overwritten."""
    path = new_file("--onnx", options.onnx, ".onnx")
    recognizer = Recognizer(options.model)
    ours = {"license": "MIT"} if options.model in NAMES else {}  # people's own networks have terms of their own
    write_bytes(path, onnx_file(recognizer, **ours))
    shape = f"{recognizer.channels}, {recognizer.side}, {recognizer.side}"
    print(f"{options.onnx}: images (N, {shape}) uint8 to vectors (N, {recognizer.network.dimensions}) float32")
