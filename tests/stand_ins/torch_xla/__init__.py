"""A stand-in for torch_xla 2.9 without its library: what a feed touches, with the same traps.

Tensors stay on the CPU. `runtime.KIND` is what PJRT_DEVICE would be; `runtime.WORLD` the rank and number of processes.
"""

import threading

import torch


class _XLAC:
    started = False

    @classmethod
    def _xla_runtime_is_initialized(cls):
        return cls.started


syncs = []
"""The thread of each step that was run."""


def sync():
    syncs.append(threading.current_thread())


def device(index=None):
    _XLAC.started = True
    return torch.device("cpu")


def device_count():
    return 1
