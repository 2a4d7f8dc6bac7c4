"""What a GPU computes in a training step is recorded once and repeated, so that it need not wait for Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3  # calls before the recording: first calls allocate and choose


def recorded(function: Callable[..., Tensor], device: torch.device) -> Callable[..., Tensor]:
    """The function itself; on a CUDA device one that records a call as a CUDA graph and repeats it.

    Args:
        function: of numbers and tensors to a tensor, beside what it changes in place. It launches the same work at each
            call: floats and tensors may differ from call to call, not their shapes, and integers stay as they are.
    """
    return _Recorded(function, device) if device.type == "cuda" else function


class _Recorded:
    def __init__(self, function: Callable[..., Tensor], device: torch.device) -> None:
        self.function, self.device, self.calls = function, device, 0

    def __call__(self, *values: Any) -> Tensor:
        given = [torch.tensor(value, device=self.device) if isinstance(value, float) else value for value in values]
        self.calls += 1
        if self.calls <= WARM_UP:
            return self._aside(given)
        if self.calls == WARM_UP + 1:
            self.graph, self.inputs = torch.cuda.CUDAGraph(), given
            with torch.cuda.graph(self.graph):
                self.output = self.function(*self.inputs)
        for kept, value in zip(self.inputs, given, strict=True):
            if isinstance(kept, Tensor):
                kept.copy_(value)
        self.graph.replay()
        return self.output.clone()

    def _aside(self, given: list[Any]) -> Tensor:
        """A call on another stream, as calls before a recording must be."""
        stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            output = self.function(*given)
        current.wait_stream(stream)
        return output
