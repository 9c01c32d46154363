"""Which device the batches go to: chosen when the first batch is asked for, tried with a small product, and said."""

from __future__ import annotations

import importlib.util
import re
import sys
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from datastage.batches.ranks import local_rank, world
from datastage.errors import SpecError, needing
from datastage.progress import SILENT, Reporter
from datastage.runtime import current

if TYPE_CHECKING:
    import torch

# What a person presses to get a GPU, by platform.
GPU_CLICKS = {
    "colab": "Runtime > Change runtime type > T4 GPU > Save. The disk is emptied then: run your cells again.",
    "kaggle": "in the right-hand panel, Settings > Accelerator > GPU T4 x2. It needs a phone-verified account.",
}
NAMES = re.compile(r"auto|(cpu|mps)(:0)?|(cuda|xla)(:[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Choice:
    """A device that works, why it was taken, and whether a split may move to its memory."""

    device: torch.device
    kind: str
    why: str
    holds: bool = True


def import_torch() -> Any:
    """Import torch, or say what to install."""
    with needing(
        "A loader",
        "PyTorch",
        "Staging works without it: datastage.stage(...) gives the folder.",
        "Next: install it (https://pytorch.org/get-started), and run the same line again.",
    ):
        import torch
    return torch


def check_name(device: object) -> None:
    """Check the word for a device, without touching any; raises `SpecError`."""
    name = str(device)
    if not NAMES.fullmatch(name):
        raise SpecError(
            f"device={name!r} is not a device that batches can go to.",
            "There are 'auto', 'cpu', 'cuda', 'mps' and 'xla'; 'cuda:1' and 'xla:1' are the second of theirs.",
        )


def choose(wanted: object = "auto", *, local_rank: int = 0) -> Choice:
    """Choose a device and try it with a small product; raises `SpecError` if one that is named cannot be used."""
    torch = import_torch()
    name = str(wanted)
    kind, _, index = name.partition(":")
    if kind == "cpu":
        return Choice(torch.device("cpu"), "cpu", "as asked")
    troubles = {}
    for way, find in {"xla": _xla, "cuda": _cuda, "mps": _mps}.items():
        if kind not in ("auto", way):
            continue
        found = find(torch, int(index) if index else None, asked=kind == way, local_rank=local_rank)
        if isinstance(found, Choice):
            return found
        if kind == way:
            other = "device='auto', or a TPU runtime" if way == "xla" else "device='auto' or device='cpu'"
            raise SpecError(f"device={name!r} cannot be used: {found}.", f"Next: use {other}.")
        troubles[way] = found
    broken = [troubles["xla"]] if "cannot be imported" in troubles["xla"] else []
    return Choice(torch.device("cpu"), "cpu", "; ".join([*broken, troubles["cuda"]]))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _product(torch: Any, device: Any) -> str:
    """Return why a small product on the device fails; empty if it is right."""
    try:
        a = torch.full((8, 8), 2.0, device=device)
        # Each number by itself: a product of matrices would load cuBLAS, which deterministic algorithms may forbid, and
        # which reads its settings only once.
        right = bool((a * a).float().cpu().eq(4.0).all())
    except Exception as error:  # whatever a driver raises
        return f"a small product on it failed ({_first_line(error)})"
    return "" if right else "a small product on it came out wrong"


def _cuda(torch: Any, index: int | None, *, asked: bool, local_rank: int) -> Choice | str:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        return "no GPU is attached, its driver is too old, or this PyTorch was built without CUDA"
    if index is None:  # torch's current one, if that was set, else this process's
        current = torch.cuda.current_device() if torch.cuda.is_initialized() else 0
        index = current or local_rank % count
    if index >= count:
        return f"there are {count} GPUs, counted from 0"
    name = torch.cuda.get_device_name(index)
    major, minor = torch.cuda.get_device_capability(index)
    every = [arch.partition("_") for arch in torch.cuda.get_arch_list()]
    arches = [f"sm_{number}" for kind, _, number in every if kind == "sm"]
    known = [(kind, divmod(int(number), 10)) for kind, _, number in every if number.isdigit()]
    # Binary code runs on the same major version from its own minor up; PTX (compute_) runs on anything newer.
    fits = any(at <= (major, minor) and (kind == "compute" or (kind == "sm" and at[0] == major)) for kind, at in known)
    if arches and not fits:
        return (
            f"the GPU is a {name} (compute capability {major}.{minor}), for which this PyTorch has no code "
            f"({', '.join(arches)}), so it is not used"
        )
    trouble = _product(torch, torch.device("cuda", index))
    if trouble:
        return f"the GPU is a {name}, but {trouble}"
    others = f", GPU {index} of {count}" if count > 1 else ""
    return Choice(torch.device("cuda", index), "cuda", f"{name}{others}; a small product on it worked")


def _mps(torch: Any, index: int | None, *, asked: bool, local_rank: int) -> Choice | str:
    mps = getattr(torch.backends, "mps", None)
    if mps is None or not mps.is_available():
        return "this is not a Mac with an Apple GPU, or this PyTorch was built without MPS"
    trouble = _product(torch, "mps")
    return trouble or Choice(torch.device("mps"), "mps", "Apple GPU; a small product on it worked")


def _has_xla() -> bool:
    return "torch_xla" in sys.modules or importlib.util.find_spec("torch_xla") is not None


def _xla(torch: Any, index: int | None, *, asked: bool, local_rank: int) -> Choice | str:
    if not _has_xla():
        return "torch_xla is not installed"
    try:
        import torch_xla
        import torch_xla.runtime
    except Exception as error:  # it must be of torch's own version, and says so in many ways
        return f"torch_xla is installed but cannot be imported ({_first_line(error)})"
    # Where a TPU is absent torch_xla offers the CPU: slower than torch's own, so only for who asks for it by name.
    kind = torch_xla.runtime.device_type()
    if not asked and kind not in ("TPU", "NEURON"):
        return f"torch_xla offers only its {kind} here"
    try:
        device = torch_xla.device(index)
    except IndexError:
        return f"this process has {torch_xla.device_count()} of them, counted from 0"
    trouble = _product(torch, device)
    return trouble or Choice(device, "xla", f"{kind} through torch_xla; a small product on it worked")


def slow(choice: Choice, dtype: str) -> str:
    """Return a word of warning where the device is slow at `dtype`; empty where it is not."""
    torch = import_torch()
    if choice.kind == "cuda" and dtype == "bfloat16" and torch.cuda.get_device_capability(choice.device) < (8, 0):
        return "this GPU is slow at bfloat16; dtype='float16' is what it is quick at"
    if choice.kind == "cpu" and dtype == "float16":
        return "CPUs are slow at float16; dtype='bfloat16' or 'float32' is quicker"
    return ""


def free_bytes(choice: Choice) -> int:
    """Return how much memory a GPU has free."""
    return int(import_torch().cuda.mem_get_info(choice.device)[0])


def expects_xla(wanted: object) -> bool:
    """Whether batches will go to an XLA device, told without touching one: shapes must be static there."""
    kind = str(wanted).partition(":")[0]
    if kind != "auto":
        return kind == "xla"
    if not _has_xla():
        return False
    try:
        import torch_xla.runtime

        return torch_xla.runtime.device_type() in ("TPU", "NEURON")
    except Exception:  # said when a device is chosen
        return False


def read_by_xla() -> bool:
    """Whether we are asked for batches by a thread of torch_xla's own loader, which moves them itself."""
    return "_loader_worker" in threading.current_thread().name


class Chooser:
    """The choice of one device for several loaders: made once, when first asked for, and said once to `reporter`."""

    def __init__(self, wanted: object, dtype: str, *, hold: bool = True, reporter: Reporter = SILENT) -> None:
        check_name(wanted)
        self.wanted, self.dtype, self._hold, self._reporter = wanted, dtype, hold, reporter
        self.made: Choice | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Another process may have another device, and what draws our lines cannot be sent to it.
        return {**self.__dict__, "made": None, "_reporter": SILENT}

    def __call__(self) -> Choice:
        """Return the device, chosen now if it was not yet; the CPU for torch_xla's own loader, which moves batches."""
        if read_by_xla() and self.static:  # from its thread nothing may be tried on the device
            return Choice(import_torch().device("cpu"), "cpu", "torch_xla moves the batches itself")
        if self.made is None:
            made = choose(self.wanted, local_rank=local_rank())
            self.made = replace(made, holds=self._hold)
            self._say(f"{made.device}: {made.why}", "Device")
            here = current()
            clicks = GPU_CLICKS.get(here.platform)
            if clicks and made.kind == "cpu" and str(self.wanted) == "auto" and not here.accelerator:
                self._say(f"for a GPU: {clicks}", "Note")
            if warning := slow(made, self.dtype):
                self._say(warning, "Note")
        return self.made

    def _say(self, text: str, label: str) -> None:
        if world().rank == 0:
            self._reporter.note(text, label)

    def fill(self) -> None:
        """Take it from now on that the device's memory has no room for a split, and say so."""
        self.made = replace(self(), holds=False)
        self._say(f"{self.made.device} has no room for the images: each batch is copied to it", "Note")

    def settle(self, wanted: str) -> None:
        """Make "auto" this device; an error if another was chosen or asked for."""
        now = str(self.made.device if self.made else self.wanted)
        if now not in ("auto", wanted):
            raise SpecError(f"These loaders are for {now}, and {wanted} is needed here.", f"Next: device={wanted!r}.")
        self.wanted = wanted

    @property
    def static(self) -> bool:
        """Whether every batch must have the same shape."""
        return self.made.kind == "xla" if self.made else expects_xla(self.wanted)
