"""A user's transform, tried when the loader is made: what is wrong with it is said then, not in the first epoch."""

from __future__ import annotations

from datastage.batches.normalize import is_torchvisions, transformed
from datastage.batches.options import LoaderOptions
from datastage.errors import SpecError


def try_transform(options: LoaderOptions, shape: tuple[int, ...]) -> None:
    """Call the transform with two black pictures, or rows, of this shape, on the CPU; raises `SpecError`."""
    if options.transform is None:
        return
    import torch

    batch = torch.zeros((2, *shape), dtype=torch.uint8 if len(shape) == 3 else torch.float32)
    try:
        with torch.random.fork_rng(devices=[]):
            made = transformed(options.transform, batch, torch.Generator().manual_seed(0))
    except SpecError:
        raise
    except Exception as error:
        if str(options.device) != "cpu" and not isinstance(error, TypeError):
            return  # it may hold tensors of another device: the first batch tells
        takes_pil = "a picture is a uint8 tensor (C, H, W): leave out what takes PIL pictures, such as ToTensor()."
        takes_batch = "let it take a batch of uint8 tensors: transform(batch, generator), or transform(batch)."
        raise SpecError(
            f"transform= failed when it was tried: {error}".rstrip(".") + ".",
            f"Next: {takes_pil if is_torchvisions(options.transform) else takes_batch}",
        ) from error
    if made.shape[1:] != batch.shape[1:]:
        options.reporter.note(
            "transform= is for training alone, and changes the size: size= does so for every part", "Note"
        )
    elif batch.dtype == torch.uint8 and made.is_floating_point():
        options.reporter.note(
            "transform= is for training alone, and returns floats: mean= and std= normalise every part alike", "Note"
        )
