"""A stand-in for torch_xla 2.9 without its library: what a feed touches, with the same traps.

Tensors stay on the CPU. `runtime.KIND` is what PJRT_DEVICE would be; `runtime.WORLD` the rank and number of processes.
"""

import contextlib
import warnings

import torch

__version__ = "2.9.0"
syncs = 0


class _XLAC:
    started = False

    @classmethod
    def _xla_runtime_is_initialized(cls):
        return cls.started


def device(index=None):
    _XLAC.started = True
    return torch.device("cpu")


def devices():
    return [torch.device("cpu")]


def device_count():
    return 1


def sync(wait=False, reset_scope=True):
    global syncs
    syncs += 1


@contextlib.contextmanager
def step():
    yield
    sync()


def launch(fn, args=(), start_method="spawn", debug_single_process=False):
    fn(0, *args)


def xla_device(*args):
    warnings.warn("Use torch_xla.device instead", DeprecationWarning, stacklevel=2)
    return device()
