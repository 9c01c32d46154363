"""Arrays, image files or any torch Dataset -> batches on the device.

Here: `from_arrays`, `from_folder`, `from_archive`, `feed`, and the public `Loader`, `Loaders`, `Augment`.
Not here: where data comes from. Each name is imported when it is first used: arrays of digits need no photos.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datastage.batches.any_dataset import feed
    from datastage.batches.arrays import from_arrays
    from datastage.batches.augment import Augment
    from datastage.batches.benchmark import Row, bench
    from datastage.batches.frameworks import as_jax, as_numpy, as_tf
    from datastage.batches.loader import Loader, Loaders
    from datastage.batches.options import LoaderOptions
    from datastage.batches.photos import from_archive, from_folder
    from datastage.batches.stats import Stats

__all__ = [
    "Augment", "Loader", "LoaderOptions", "Loaders", "Row", "Stats", "as_jax", "as_numpy", "as_tf", "bench", "feed",
    "from_archive", "from_arrays", "from_folder",
]  # fmt: skip
_MODULES = {
    "any_dataset": "feed",
    "arrays": "from_arrays",
    "augment": "Augment",
    "benchmark": "Row bench",
    "frameworks": "as_jax as_numpy as_tf",
    "loader": "Loader Loaders",
    "options": "LoaderOptions",
    "photos": "from_archive from_folder",
    "stats": "Stats",
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names.split():
            value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
