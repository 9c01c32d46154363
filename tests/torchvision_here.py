"""Import torchvision once a process, also one whose compiled half does not fit this torch."""

from __future__ import annotations

import importlib.util

import pytest

# The declarations live as long as the process: torch ends the process when somebody uses one that is gone.
KEPT: list = []


def torchvision_here():
    """Return torchvision with its datasets and transforms, or skip."""
    if importlib.util.find_spec("torchvision") is None or importlib.util.find_spec("torch") is None:
        pytest.skip("torchvision is not installed")
    try:
        return _imported()
    except RuntimeError as error:  # its operators are missing: what we use needs none, but the import asks for two
        if KEPT:
            pytest.skip(f"torchvision cannot be imported here: {error}")
    import torch

    KEPT.append(torch.library.Library("torchvision", "DEF"))
    for operator in ("nms(Tensor x) -> Tensor", "qnms(Tensor x) -> Tensor"):
        KEPT[0].define(operator)
    try:
        return _imported()
    except Exception as error:
        pytest.skip(f"torchvision cannot be imported here: {error}")


def _imported():
    import torchvision
    import torchvision.datasets
    import torchvision.transforms.v2

    return torchvision
