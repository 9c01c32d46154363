"""Get data in front of a model in a notebook: one line, wherever the data lies.

The public names, each imported when it is first used: importing datastage loads no torch, no numpy and asks nothing
of the machine.

Examples
--------
>>> import datastage
>>> "stage" in datastage.__all__
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from datastage._version import __version__

if TYPE_CHECKING:
    from datastage.api import (
        bench,
        catalog,
        catalog_line,
        cell,
        check_catalog,
        clean,
        doctor,
        extract,
        feed,
        loaders,
        members,
        preview,
        read,
        register,
        stage,
        summary,
        verify,
        zip_folder,
    )
    from datastage.batches import Augment, Loader, Loaders, as_jax, as_numpy, as_tf
    from datastage.entry import ArchiveEntry, Download, Entry, File
    from datastage.errors import (
        Attempt,
        ChecksumError,
        DamagedArchiveError,
        DatastageError,
        FaultError,
        IntegrityError,
        LockTimeoutError,
        MissingDependencyError,
        NoSpaceError,
        NotDataError,
        PasswordError,
        SpecError,
        StorageError,
        UnavailableError,
        UnsafeArchiveError,
    )
    from datastage.layouts import Reading
    from datastage.staged import Staged

__all__ = [
    "ArchiveEntry",
    "Attempt",
    "Augment",
    "ChecksumError",
    "DamagedArchiveError",
    "DatastageError",
    "FaultError",
    "Download",
    "Entry",
    "File",
    "IntegrityError",
    "Loader",
    "Loaders",
    "LockTimeoutError",
    "MissingDependencyError",
    "NoSpaceError",
    "NotDataError",
    "PasswordError",
    "Reading",
    "SpecError",
    "Staged",
    "StorageError",
    "UnavailableError",
    "UnsafeArchiveError",
    "__version__",
    "as_jax",
    "as_numpy",
    "as_tf",
    "bench",
    "catalog",
    "catalog_line",
    "cell",
    "check_catalog",
    "clean",
    "doctor",
    "extract",
    "feed",
    "loaders",
    "members",
    "preview",
    "read",
    "register",
    "stage",
    "summary",
    "verify",
    "zip_folder",
]

# Which module each public name comes from; what is not named here is one of datastage.errors.
_HOME = {
    **dict.fromkeys(
        (
            "bench",
            "catalog",
            "catalog_line",
            "cell",
            "check_catalog",
            "clean",
            "doctor",
            "extract",
            "feed",
            "loaders",
            "members",
            "preview",
            "read",
            "register",
            "stage",
            "summary",
            "verify",
            "zip_folder",
        ),
        "datastage.api",
    ),
    **dict.fromkeys(("Augment", "Loader", "Loaders", "as_jax", "as_numpy", "as_tf"), "datastage.batches"),
    **dict.fromkeys(("ArchiveEntry", "Download", "Entry", "File"), "datastage.entry"),
    "Reading": "datastage.layouts",
    "Staged": "datastage.staged",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'datastage' has no attribute {name!r}")
    return getattr(import_module(_HOME.get(name, "datastage.errors")), name)


def __dir__() -> list[str]:
    return __all__
