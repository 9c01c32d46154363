"""Get data in front of a model in a notebook: one line, wherever the data lies.

The public names, each imported when it is first used: importing datastage loads no torch, no numpy and asks nothing
of the machine.
"""

from __future__ import annotations

from importlib import import_module

from datastage._version import __version__

TYPE_CHECKING = False  # typing's own costs thirty modules
if TYPE_CHECKING:
    # isort: off
    from datastage.api import (
        bench, catalog, catalog_line, cell, check_catalog, clean, doctor, extract, feed, loaders, members, pack,
        preview, read, register, stage, summary, verify, zip_folder,
    )  # fmt: skip
    from datastage.batches.augment import Augment
    from datastage.batches.frameworks import as_jax, as_numpy, as_tf
    from datastage.batches.loader import Loader, Loaders
    from datastage.entry import ArchiveEntry, Download, Entry, File
    from datastage.errors import (
        Attempt, ChecksumError, DamagedArchiveError, DatastageError, FaultError, IntegrityError, LockTimeoutError,
        MissingDependencyError, NoSpaceError, NotDataError, PasswordError, SpecError, StorageError, UnavailableError,
        UnsafeArchiveError,
    )  # fmt: skip
    from datastage.layouts import Reading
    from datastage.staged import Staged

__all__ = [
    "ArchiveEntry", "Attempt", "Augment", "ChecksumError", "DamagedArchiveError", "DatastageError", "Download", "Entry",
    "FaultError", "File", "IntegrityError", "Loader", "Loaders", "LockTimeoutError", "MissingDependencyError",
    "NoSpaceError", "NotDataError", "PasswordError", "Reading", "SpecError", "Staged", "StorageError",
    "UnavailableError", "UnsafeArchiveError", "__version__", "as_jax", "as_numpy", "as_tf", "bench", "catalog",
    "catalog_line", "cell", "check_catalog", "clean", "doctor", "extract", "feed", "loaders", "members", "pack",
    "preview", "read", "register", "stage", "summary", "verify", "zip_folder",
]  # fmt: skip

# Which module a public name comes from: what is not named here is a function of `api` or an error.
_HOME = {
    "Augment": "datastage.batches.augment",
    **dict.fromkeys(("Loader", "Loaders"), "datastage.batches.loader"),
    **dict.fromkeys(("as_jax", "as_numpy", "as_tf"), "datastage.batches.frameworks"),
    **dict.fromkeys(("ArchiveEntry", "Download", "Entry", "File"), "datastage.entry"),
    "Reading": "datastage.layouts",
    "Staged": "datastage.staged",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'datastage' has no attribute {name!r}")
    return getattr(import_module(_HOME.get(name, "datastage.api" if name.islower() else "datastage.errors")), name)


def __dir__() -> list[str]:
    return __all__
