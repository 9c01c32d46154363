"""What a child of `extraction.py` runs: one engine, one archive, one folder; prints the seconds, imports left out."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def datastage_(archive: str, to: str) -> Callable[[], object]:
    from datastage.archives import unpack
    from datastage.reader import FileReader

    return lambda: unpack(FileReader(archive), Path(to))


def plain(archive: str, to: str) -> Callable[[], object]:
    for module in ("isal", "deflate"):
        sys.modules[module] = None  # type: ignore[assignment]
    return datastage_(archive, to)


def stage_(archive: str, to: str) -> Callable[[], object]:
    """The verb as a notebook calls it, in a process that has used it before."""
    import datastage

    datastage.stage(_ten(to), root=f"{to}/before", progress=False)
    return lambda: datastage.stage(archive, root=f"{to}/root", progress=False)


def extract_(archive: str, to: str) -> Callable[[], object]:
    import datastage

    datastage.extract(_ten(to), f"{to}/before", progress=False)
    return lambda: datastage.extract(archive, f"{to}/files", progress=False)


def _ten(to: str) -> str:
    import zipfile

    path = f"{to}/ten.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for nth in range(10):
            archive.writestr(f"{nth}", b"x")
    return path


def again(archive: str, to: str) -> Callable[[], object]:
    """The second call of `stage`, which has nothing to do."""
    first = stage_(archive, to)
    first()
    return first


def hayazip_(archive: str, to: str) -> Callable[[], object]:
    import hayazip

    return lambda: hayazip.extract_zip(archive, to)


def synced(archive: str, to: str) -> Callable[[], object]:
    """As `stage` does on a disk: all is on it before it is published."""
    from datastage.store import sync_file_system

    unpack_all = datastage_(archive, to)

    def run() -> None:
        unpack_all()
        sync_file_system(Path(to))

    return run


def zipfile_(archive: str, to: str) -> Callable[[], object]:
    import zipfile

    return lambda: zipfile.ZipFile(archive).extractall(to)


def shutil_(archive: str, to: str) -> Callable[[], object]:
    import shutil

    if archive.endswith(".zip"):
        return lambda: shutil.unpack_archive(archive, to)
    return lambda: shutil.unpack_archive(archive, to, filter="data")


def torchvision_(archive: str, to: str) -> Callable[[], object]:
    import torch

    # A torchvision built for CUDA asks a torch built for the CPU for operators that it does not have.
    torchvision_.library = torch.library.Library("torchvision", "DEF")  # type: ignore[attr-defined]
    for operator in ("nms(Tensor x) -> Tensor", "qnms(Tensor x) -> Tensor"):
        try:
            torchvision_.library.define(operator)  # type: ignore[attr-defined]
        except RuntimeError:
            pass
    from torchvision.datasets.utils import extract_archive

    return lambda: extract_archive(archive, to)


def tarfile_(archive: str, to: str) -> Callable[[], object]:
    import tarfile

    return lambda: tarfile.open(archive).extractall(to, filter="data")


def creation(archive: str, to: str) -> Callable[[], object]:
    """Create the files with bytes from memory, on two processes: what Python cannot go below."""
    import zipfile

    infos = [info for info in zipfile.ZipFile(archive).infolist() if not info.is_dir()]
    for folder in {os.path.dirname(info.filename) for info in infos}:
        os.makedirs(os.path.join(to, folder), exist_ok=True)
    data = memoryview(os.urandom(1 << 20))

    def half(part: list[zipfile.ZipInfo]) -> None:
        last, fd = "", -1
        for info in part:
            folder, _, leaf = info.filename.rpartition("/")
            if folder != last:
                fd, last = os.open(os.path.join(to, folder), os.O_RDONLY), folder
            file = os.open(leaf, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=fd)
            left = info.file_size
            while left > 0:
                left -= os.write(file, data[: min(left, len(data))])
            os.close(file)

    def both() -> None:
        middle = len(infos) // 2
        child = os.fork()
        if not child:
            half(infos[:middle])
            os._exit(0)
        half(infos[middle:])
        os.waitpid(child, 0)

    return both


def inflate_(archive: str, to: str) -> Callable[[], object]:
    """Inflate and check all members on two threads, and write nothing."""
    from datastage.archives import inflate, zip_directory, zip_members
    from datastage.reader import FileReader

    inflate.prepare(None)
    reader = FileReader(archive)
    rows = list(zip_directory.listing(reader))

    def part(nth: int) -> None:
        for _, entry, limit in rows[nth::2]:
            if entry.usize < zip_members.WHOLE_BYTES:
                zip_members.read_whole(entry, reader.read_at, limit, None)
            else:
                for _ in zip_members.content_of(entry, reader.read_at, limit, None):
                    pass

    def both() -> None:
        other = threading.Thread(target=part, args=(1,))
        other.start()
        part(0)
        other.join()

    return both


def decompress(archive: str, to: str) -> Callable[[], object]:
    from datastage.archives import formats, inflate, sniff
    from datastage.reader import FileReader

    inflate.prepare(None)
    reader = FileReader(archive)
    form = (sniff(reader) or "tar.").partition(".")[2]

    def run() -> None:
        for _ in formats.find(form)[0].decode(reader.stream(0)):
            pass

    return run


class SlowMount:
    """A file read through a link with 40 ms of delay, where each stream gets 12 MB/s."""

    ranges, local_path, identity = True, None, ""

    def __init__(self, path: str) -> None:
        from datastage.reader import FileReader

        self._file = FileReader(path)
        self.name, self.size = self._file.name, self._file.size

    def read_at(self, offset: int, n: int) -> bytes:
        data = self._file.read_at(offset, n)
        time.sleep(0.04 + len(data) / 12e6)
        return data

    def stream(self, offset: int = 0):
        while piece := self.read_at(offset, 1 << 20):
            yield piece
            offset += len(piece)

    def close(self) -> None:
        self._file.close()


def slow(archive: str, to: str) -> Callable[[], object]:
    from datastage.archives import unpack

    return lambda: unpack(SlowMount(archive), Path(to))


def slow_plain(archive: str, to: str) -> Callable[[], object]:
    plain(archive, to)
    return slow(archive, to)


def slow_cp(archive: str, to: str) -> Callable[[], object]:
    def run() -> None:
        # cp reads one stream front to back: the kernel's readahead hides the delay but for the first of it.
        copy = os.path.join(to, "copy.zip")
        link = SlowMount(archive)
        with open(copy, "wb") as file:
            at = 0
            while piece := link.read_at(at, 16 << 20):
                file.write(piece)
                at += len(piece)
        subprocess.run(["unzip", "-q", copy, "-d", os.path.join(to, "out")], check=True)

    return run


ENGINES = {
    "datastage": datastage_,
    "plain": plain,
    "synced": synced,
    "stage": stage_,
    "extract": extract_,
    "again": again,
    "hayazip": hayazip_,
    "zipfile": zipfile_,
    "shutil": shutil_,
    "torchvision": torchvision_,
    "tarfile": tarfile_,
    "creation": creation,
    "inflate": inflate_,
    "decompress": decompress,
    "slow": slow,
    "slow-plain": slow_plain,
    "slow-cp": slow_cp,
}


def main() -> None:
    run = ENGINES[sys.argv[1]](sys.argv[2], sys.argv[3])
    began = time.perf_counter()
    run()
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
