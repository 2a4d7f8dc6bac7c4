"""Checkpoints: a run that is killed goes on where it was, and ends with the same bytes.

A checkpoint's name holds a fingerprint of everything that decides the result (parameters, inputs, code,
versions), so a run can only ever continue itself. They lie outside of DVC's outputs, which DVC deletes.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import torch

from oneshot.common.files import md5, write_bytes

FOLDER = Path("checkpoints")
CODE = ("hardware", "data", "model", "training")  # packages that decide what a training computes
_PACKAGES = Path(__file__).resolve().parents[1]
_DIGEST = hashlib.sha256().digest_size


def fingerprint(values: dict[str, Any], inputs: list[Path]) -> str:
    """12 hex digits that change with the values, the content of the input files and the code that trains."""
    code = sorted(path for folder in CODE for path in (_PACKAGES / folder).rglob("*.py"))
    parts = [json.dumps(values, sort_keys=True), *map(md5, inputs), *map(md5, code)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


class Checkpoint:
    """One run's checkpoint file, `checkpoints/<name>-<fingerprint>.pt`."""

    def __init__(self, name: str, fingerprint: str) -> None:
        self.path = FOLDER / f"{name}-{fingerprint}.pt"

    def load(self) -> dict[str, Any] | None:
        """The last saved state, or None where there is none, or a damaged one."""
        if not self.path.exists():
            return None
        content = self.path.read_bytes()
        digest, state = content[:_DIGEST], content[_DIGEST:]
        if hashlib.sha256(state).digest() != digest:  # torch itself checks no sums
            print(f"{self.path}: damaged, starting again", file=sys.stderr)
            return None
        return torch.load(io.BytesIO(state), map_location="cpu", weights_only=True)

    def save(self, state: dict[str, Any]) -> None:
        """Replace the saved state; a kill at any moment leaves the old state or the new one."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_bytes(self.path, hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())

    def remove(self) -> None:
        """Delete the file: the run is complete, its result is written."""
        self.path.unlink(missing_ok=True)
