"""What this machine has free for a feed: cores, memory, room on a disk."""

from __future__ import annotations

from pathlib import Path

SHARE_OF_MEMORY = 0.7


def cores() -> int:
    """Return how many cores this process may use."""
    from datastage import runtime

    return runtime.current().cores


def memory_free_bytes() -> int | None:
    """Return how much memory a feed may take; None if that is not known."""
    from datastage import runtime

    total = runtime.current().memory_bytes
    return int(SHARE_OF_MEMORY * total) if total else None


def disk_free_bytes(folder: Path) -> int | None:
    """Return the room on the disk of `folder`, which need not exist yet; None if that is not known."""
    from datastage import runtime

    return runtime.free_bytes(folder)


def shm_bytes() -> int:
    """Return the size of /dev/shm; 0 if that is not known."""
    from datastage import runtime

    return runtime.current().shm_bytes


def near_folder(folder: Path) -> Path:
    """Return `folder`, or one of this machine's own disks in its place if it lies on a disk of another machine."""
    from datastage import runtime, slots, staging

    if not runtime.is_network_disk(folder):
        return folder
    return slots.pixels_folder(staging.root_folder(None, runtime.current()), folder)
