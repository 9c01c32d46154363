"""Write below one folder, by descriptors of its folders, never over anything and never through a link.

Helper processes import this module, so it imports nothing heavy.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from functools import partial

from datastage.archives.errors import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# Windows has no dir_fd: paths are joined there.
BY_DESCRIPTOR = {os.open, os.mkdir, os.symlink, os.link} <= os.supports_dir_fd
_CREATE = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_ENTER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
HOLE = memoryview(bytes(1 << 20))  # what parts of holes in sparse files are slices of
# Enough for the class folders of most datasets; far below the usual limit of 1,024 descriptors, with several writers.
MAX_OPEN = 48
_os_open, _os_write, _os_utime, _os_close = os.open, os.write, os.utime, os.close
_SETS_TIME_BY_FD = os.utime in os.supports_fd


class Folder:
    """One writer below `root`. Not for several threads: each has its own."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._open: OrderedDict[str, int] = OrderedDict()
        self._last: str | None = None  # the folder written to last, and its descriptor
        self._last_fd = -1
        self._top = os.open(root, _ENTER) if BY_DESCRIPTOR else -1

    def close(self) -> None:
        """Close all descriptors."""
        while self._open:
            os.close(self._open.popitem()[1])
        if self._top >= 0:
            os.close(self._top)
            self._top = -1

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def create(self, path: str, mode: int | None = None) -> int:
        """Make a new file and return its descriptor; what is there already is an error.

        The owner may always read and write it; the umask takes its part; setuid and the like are dropped.
        """
        bits = 0o666 if mode is None else mode & 0o777 | 0o600
        parent, _, leaf = path.rpartition("/")
        try:
            if not BY_DESCRIPTOR:
                self.make_folder(parent)
                return os.open(self._join(path), _CREATE, bits)
            return os.open(leaf, _CREATE, bits, dir_fd=self._enter(parent))
        except OSError as error:
            raise self._create_fault(error, path) from None

    def make_folder(self, path: str) -> None:
        """Make a folder and those above it; it may be there."""
        if not path:
            return
        if BY_DESCRIPTOR:
            self._enter(path)
        else:
            os.makedirs(self._join(path), exist_ok=True)

    def write_file(
        self, path: str, data: bytes | memoryview, mode: int | None = None, mtime_ns: int | None = None
    ) -> None:
        """Write one small file whole."""
        if BY_DESCRIPTOR:
            # As `create`, without the calls in between.
            parent, _, leaf = path.rpartition("/")
            if parent != self._last:
                self._last_fd = self._enter(parent)
                self._last = parent
            try:
                fd = _os_open(leaf, _CREATE, 0o666 if mode is None else mode & 0o777 | 0o600, dir_fd=self._last_fd)
            except OSError as error:
                raise self._create_fault(error, path) from None
        else:
            fd = self.create(path, mode)
        try:
            if data and _os_write(fd, data) != len(data):
                os.lseek(fd, 0, os.SEEK_SET)
                write_all(fd, data)
            if mtime_ns is not None:
                try:
                    _os_utime(fd if _SETS_TIME_BY_FD else self._join(path), ns=(mtime_ns, mtime_ns))
                except (OSError, OverflowError):
                    pass
        finally:
            _os_close(fd)

    def write_pieces(
        self, path: str, pieces: Iterable[bytes | memoryview], mode: int | None = None, mtime_ns: int | None = None
    ) -> int:
        """Write one file as its content comes, and return its length; holes are left to the disk."""
        size = 0
        fd = self.create(path, mode)
        try:
            for piece in pieces:
                if isinstance(piece, memoryview) and piece.obj is HOLE.obj:
                    os.lseek(fd, len(piece), os.SEEK_CUR)
                else:
                    write_all(fd, piece)
                size += len(piece)
            os.ftruncate(fd, size)  # a hole may be last
            self.set_time(path, mtime_ns, fd)
        finally:
            os.close(fd)
        return size

    def set_time(self, path: str, mtime_ns: int | None, fd: int = -1) -> None:
        """Set the time of a new file, or of a folder once all is in it; a time that the disk cannot hold is let go."""
        if mtime_ns is None:
            return
        try:
            if fd < 0 and BY_DESCRIPTOR:
                fd = self._enter(path)
            os.utime(fd if fd >= 0 and _SETS_TIME_BY_FD else self._join(path), ns=(mtime_ns, mtime_ns))
        except (OSError, OverflowError):
            pass

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link."""
        parent, _, leaf = path.rpartition("/")
        try:
            if BY_DESCRIPTOR:
                os.symlink(target, leaf, dir_fd=self._enter(parent))
            else:
                self.make_folder(parent)
                os.symlink(target.replace("/", os.sep), self._join(path))
        except FileExistsError:
            raise Fault("D-SAME", "is there twice", path) from None

    def remove(self, path: str) -> None:
        """Remove a file that was written here."""
        parent, _, leaf = path.rpartition("/")
        if BY_DESCRIPTOR:
            os.unlink(leaf, dir_fd=self._enter(parent))
        else:
            os.unlink(self._join(path))

    def hard_link(self, path: str, target: str) -> None:
        """Give the file `target` the further name `path`; a copy where the disk knows no hard links."""
        parent, _, leaf = path.rpartition("/")
        there, _, name = target.rpartition("/")
        self.make_folder(parent)
        try:
            if BY_DESCRIPTOR:
                source = os.dup(self._enter(there))  # entering the other folder may close this one
                try:
                    os.link(name, leaf, src_dir_fd=source, dst_dir_fd=self._enter(parent), follow_symlinks=False)
                finally:
                    os.close(source)
            else:
                os.link(self._join(target), self._join(path))
        except FileExistsError:
            raise Fault("D-SAME", "is there twice", path) from None
        except (OSError, NotImplementedError) as error:
            code = getattr(error, "errno", errno.ENOTSUP)
            if code not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EXDEV, errno.ENOSYS, errno.EACCES):
                raise
            with open(self._join(target), "rb") as file:
                seen = os.fstat(file.fileno())
                self.write_pieces(path, iter(partial(file.read, 1 << 20), b""), seen.st_mode, seen.st_mtime_ns)

    def _join(self, path: str) -> str:
        return os.path.join(self.root, *path.split("/"))

    def _enter(self, path: str) -> int:
        """Return the descriptor of a folder, making it and those above; the caller may use it until the next call."""
        if not path:
            return self._top
        self._last = None
        fd = self._open.get(path)
        if fd is not None:
            self._open.move_to_end(path)
            return fd
        parent, _, leaf = path.rpartition("/")
        above = self._enter(parent)
        try:
            fd = os.open(leaf, _ENTER, dir_fd=above)
        except FileNotFoundError:
            try:
                os.mkdir(leaf, 0o777, dir_fd=above)
            except FileExistsError:  # another writer was quicker
                pass
            fd = os.open(leaf, _ENTER, dir_fd=above)
        except OSError as error:
            raise self._name_fault(error, path) from None
        if len(self._open) >= MAX_OPEN:
            # Not the one just used: deep paths would close what they stand on.
            os.close(self._open.popitem(last=False)[1])
        self._open[path] = fd
        return fd

    def _create_fault(self, error: OSError, path: str) -> Exception:
        if isinstance(error, FileExistsError):
            return Fault("D-SAME", "is there twice, or differs from another name only in what this disk ignores", path)
        return self._name_fault(error, path)

    def _name_fault(self, error: OSError, path: str) -> Exception:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            return Fault("D-KIND", "is there twice, once as a folder and once not", path)
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ):
            return Fault("N-LONG", "has a name that this disk cannot hold", path)
        if error.filename is not None:
            error.filename = self._join(path)
        return error


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of `data`: a full disk or a signal may cut a write short."""
    done = os.write(fd, data)
    if done == len(data):
        return
    view = memoryview(data)
    while done < len(view):
        done += os.write(fd, view[done:])


def empty(root: str) -> None:
    """Remove all that is in a folder and keep the folder; links are removed, never followed.

    What cannot be removed is left, without an error: this runs while another error is on its way.
    """
    import shutil

    def allow(function: object, path: str, error: object) -> None:
        # A folder that may not be written holds its content fast.
        try:
            os.chmod(os.path.dirname(path), stat.S_IRWXU)
            if os.path.isdir(path) and not os.path.islink(path):
                os.chmod(path, stat.S_IRWXU)
                os.rmdir(path)
            else:
                os.unlink(path)
        except OSError:
            pass

    try:
        entries = list(os.scandir(root))
    except OSError:
        return
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, onerror=allow)
            else:
                os.unlink(entry.path)
        except OSError:
            pass
