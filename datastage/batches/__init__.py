"""Arrays, image files or any torch Dataset -> batches on the device.

Here: `from_arrays`, `from_folder`, `from_archive`, `feed`, and the public `Loader`, `Loaders`, `Augment`. Each can be
used alone: nothing here knows where data comes from. torch and numpy are imported when a loader is made, not before.
"""

from datastage.batches.augment import Augment
from datastage.batches.bench import Row, bench
from datastage.batches.feed import feed
from datastage.batches.frames import as_jax, as_numpy, as_tf
from datastage.batches.joined import from_arrays
from datastage.batches.loader import Loader, Loaders
from datastage.batches.open_data import open_data
from datastage.batches.options import LoaderOptions
from datastage.batches.photos import from_archive, from_folder
from datastage.batches.stats import Stats

__all__ = [
    "Augment",
    "Loader",
    "LoaderOptions",
    "Loaders",
    "Row",
    "Stats",
    "as_jax",
    "as_numpy",
    "as_tf",
    "bench",
    "feed",
    "from_archive",
    "from_arrays",
    "from_folder",
    "open_data",
]
