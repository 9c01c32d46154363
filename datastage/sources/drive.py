"""Google Drive: ``drive:`` specs, where it is mounted, and connecting it."""

from __future__ import annotations

from pathlib import Path

from datastage.errors import DatastageError, StorageError
from datastage.runtime import Runtime, drive_mounts


def is_on_drive(path: Path, runtime: Runtime) -> bool:
    """Tell whether `path` lies in a mounted Drive."""
    return any(mount.path == path or mount.path in path.parents for mount in drive_mounts(runtime.system_root))


def my_drive(mount: Path) -> Path:
    """Return the folder of the user's own files in a mounted Drive."""
    return mount / "MyDrive" if (mount / "MyDrive").is_dir() else mount / "My Drive"


def explain_os_error(error: OSError, path: Path, runtime: Runtime) -> DatastageError:
    """Say what an error met while reading from Drive means."""
    return StorageError.of(error, "reading from Drive")
