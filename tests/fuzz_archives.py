"""Fuzz the unpacker over every format, for a given time: ``python tests/fuzz_archives.py --seconds 60``.

With atheris installed the mutations are guided by coverage (``--plain`` does without); otherwise they are random ones
of small good archives. The judgement is the same. An input is a finding when unpacking

- raises anything but an error of ours, or leaves something after one;
- makes anything beside the folder, anything but files, folders and links that stay inside;
- says another thing than what lies in the folder, or other contents than `zipfile`, `tarfile` and the like read;
- takes longer than `MAX_SECONDS`, or memory grows by more than `MAX_BYTES`.

The input is then in ``fuzz-finding.bin``; ``--again FILE`` judges it once more.

An input is one byte that says what is done with the rest (`HOW`), and the rest. A checksum that a mutation has broken
ends most archives at once, so most are mended first, or the mutated bytes are compressed only then.
"""

from __future__ import annotations

import argparse
import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

try:
    import atheris
except ImportError:
    atheris = None
guided = atheris is not None and "--child" in sys.argv
with atheris.instrument_imports(include=["datastage"]) if guided else contextlib.nullcontext():
    from datastage.archives import (
        external_tools,
        iter_members,
        list_members,
        unpack,
        zip_directory,
        zip_extract,
        zip_members,
    )
    from datastage.archives.streams import Bytes
    from datastage.errors import DatastageError
    from datastage.file_names import junk_kind
    from datastage.reader import BytesReader, FileReader

from archives.made import tar_of, tree, zip_link, zip_of  # noqa: E402

try:
    import resource
except ImportError:  # Windows
    resource = None

MAX_SECONDS = 60.0
MAX_BYTES = 128 << 20
FREE_BYTES = 64 << 20
FILES = {"a.txt": b"alpha " * 40, "d/b.bin": bytes(range(256)), "d/\u732b": b"", "e/": b""}
TAR = tar_of(
    [("d", None), ("d/f", b"1" * 700), ("l", tarfile.SYMTYPE, "d/f"), ("h", tarfile.LNKTYPE, "d/f"), ("n" * 150, b"x")]
)
LIST = """\
Path = a.txt
Folder = -
Size = 3
Modified = 2020-09-13 12:26:40
Attributes = A -rw-r--r--
CRC = 352441C2
Encrypted = -

Path = d
Folder = +
Size = 0
Modified = 2020-09-13 12:26:40
Attributes = D drwxr-xr-x
CRC =
Encrypted = -

Path = l
Folder = -
Size = 5
Attributes = A lrwxrwxrwx
CRC =
Encrypted = -
"""


# --- what is done with an input ---


def _as_it_is(data: bytes) -> bytes:
    return data


def mended_tar(data: bytes) -> bytes:
    """Return a tar with the checksum of each block that may be a header made right."""
    out = bytearray(data)
    at = 0
    while at + 512 <= len(out):
        if any(out[at : at + 512]):
            out[at + 148 : at + 156] = b" " * 8
            out[at + 148 : at + 156] = b"%06o\0 " % sum(out[at : at + 512])
        size = re.match(rb" *([0-7]{1,11})[ \0]", out[at + 124 : at + 136])
        at += 512 + (-(-int(size[1], 8) // 512) * 512 if size and out[at + 156 : at + 157] not in b"12345" else 0)
    return bytes(out)


def mended_zip(data: bytes) -> bytes:
    """Return a zip whose end record leads to the first entry, and whose stored members have their checksums."""
    out = bytearray(data)
    end, start = out.rfind(b"PK\5\6"), out.find(b"PK\1\2")
    if end < 0 or start < 0 or start > end or end + 22 > len(out):
        return data
    at = start
    n = 0
    while out[at : at + 4] == b"PK\1\2" and at + 46 <= end:
        offset = struct.unpack_from("<L", out, at + 42)[0]
        if out[offset : offset + 4] == b"PK\3\4" and offset + 30 <= start:
            method, size = out[offset + 8], struct.unpack_from("<L", out, at + 20)[0]
            data_at = offset + 30 + sum(struct.unpack_from("<HH", out, offset + 26))
            content = bytes(out[data_at : data_at + size])
            if method == 8:
                with contextlib.suppress(zlib.error):
                    content = zlib.decompressobj(-15).decompress(content, 1 << 20)
            if method in (0, 8):
                out[at + 16 : at + 20] = out[offset + 14 : offset + 18] = struct.pack("<L", zlib.crc32(content))
        at += 46 + sum(struct.unpack_from("<HHH", out, at + 28))
        n += 1
    end = out.rfind(b"PK\5\6")
    struct.pack_into("<HHLL", out, end + 8, n & 0xFFFF, n & 0xFFFF, end - start, start)
    return bytes(out)


def _zst(data: bytes) -> bytes:
    import zstandard

    return zstandard.compress(data)


def _lz4(data: bytes) -> bytes:
    import lz4.frame

    return lz4.frame.compress(data)


def _xz(data: bytes) -> bytes:
    return lzma.compress(data, preset=0)


HOW: list[Callable[[bytes], bytes]] = [
    _as_it_is,
    mended_tar,
    mended_zip,
    lambda data: gzip.compress(mended_tar(data), 1),
    lambda data: bz2.compress(mended_tar(data), 1),
    lambda data: _xz(mended_tar(data)),
    lambda data: _zst(mended_tar(data)),
    lambda data: _lz4(mended_tar(data)),
]
LISTING = 8  # the rest is what 7z would print: its list, four NULs, the contents
N_HOW = 9


def available() -> list[int]:
    """Return which ways of `HOW` work here."""
    found = []
    for nth, way in enumerate(HOW):
        with contextlib.suppress(ImportError):
            way(b"x" * 512)
            found.append(nth)
    return [*found, LISTING]


def seeds() -> list[bytes]:
    """Return one small good archive of each kind, each with the byte that says what is done with it."""
    zips = [zip_of(FILES), zip_link("l", "a.txt", before={"a.txt": b"1"})]
    zips.append(zip_of({f"{i % 3}/{i}": b"x" for i in range(30)}))
    zips += [zip_of(FILES, method=method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)]
    zips.append(zip_of({"\u00fcber\\\u00e7.txt": b"1", "in.zip": zips[0]}, system=0))
    large = io.BytesIO()
    with zipfile.ZipFile(large, "w") as archive, archive.open("big", "w", force_zip64=True) as member:
        member.write(b"zip64")
    zips.append(large.getvalue())
    sparse = tarfile.TarInfo("s")
    sparse.size = 7
    sparse.pax_headers = {"GNU.sparse.size": "900", "GNU.sparse.map": "5,3,800,4", "GNU.sparse.name": "holes"}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "all"}) as archive:
        archive.addfile(sparse, io.BytesIO(b"abcdefg"))
    tars = [TAR, out.getvalue(), tar_of([("x" * 200, b"1")], form=tarfile.GNU_FORMAT), TAR + tar_of([("z", b"2")])]
    csv = b"1,2\n" * 50
    ways = available()
    found = [bytes([way]) + data for data in zips for way in (0, 2)]
    found += [bytes([way]) + data for data in tars for way in (1, *ways[3:-1])]
    found += [b"\0" + way(data) for way in (gzip.compress, bz2.compress, lzma.compress) for data in (TAR, csv)]
    found += [b"\0" + HOW[way](data) for way in (6, 7) if way in ways for data in (TAR, csv)]
    with contextlib.suppress(ImportError):  # needs pytest
        from archives.test_hostile import ODD, TAR_ODD

        found += [b"\2" + data for data, _ in ODD.values()] + [b"\1" + data for data, _ in TAR_ODD.values()]
    found.append(bytes([LISTING]) + LIST.encode() + b"\0\0\0\0abca.txt")
    if shutil.which("7z"):
        with tempfile.TemporaryDirectory() as place:
            Path(place, "f").write_bytes(b"1" * 99)
            subprocess.run(["7z", "a", "x.7z", "f"], cwd=place, capture_output=True, check=True)
            found.append(b"\0" + Path(place, "x.7z").read_bytes())
    return found


# --- judging ---


class Judge:
    """Judges inputs, and ends the process when one takes too long.

    Parameters
    ----------
    base : str
        A folder for what is unpacked.
    """

    def __init__(self, base: str) -> None:
        self.base, self.root = base, os.path.join(base, "to")
        self.n_accepted = 0
        self._now: tuple[float, bytes] | None = None
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(1)
            now = self._now
            if now is not None and time.monotonic() - now[0] > MAX_SECONDS:
                Path("fuzz-finding.bin").write_bytes(now[1])
                print(f"takes over {MAX_SECONDS:.0f} s; the input is in fuzz-finding.bin", flush=True)
                os._exit(1)

    def __call__(self, data: bytes) -> None:
        """Judge one input; raise AssertionError for a finding."""
        self._now = (time.monotonic(), data)
        before = _most_memory()
        wrong = self._wrong(data[0] % N_HOW, data[1:]) if data else None
        if wrong is None and _most_memory() - before > MAX_BYTES:
            wrong = f"took {_most_memory() - before:,} bytes of memory"
        self._now = None
        if wrong is not None:
            Path("fuzz-finding.bin").write_bytes(data)
            raise AssertionError(f"{wrong}; the input is in fuzz-finding.bin")

    def _wrong(self, how: int, data: bytes) -> str | None:
        with contextlib.ExitStack() as stack:
            if how == LISTING:
                listed, _, contents = data.partition(b"\0\0\0\0")
                listing = SimpleNamespace(returncode=0, stdout=b"\n----------\n" + listed, stderr=b"")
                stack.enter_context(mock.patch.object(external_tools.subprocess, "run", lambda *_, **__: listing))
                stack.enter_context(mock.patch.object(external_tools, "_Printed", _printed(contents)))
                stack.enter_context(mock.patch.object(external_tools, "_tool_for", lambda form: "7z"))
                return self._outcome(b"7z\xbc\xaf\x27\x1c", False) or self._beside()
            try:
                data = HOW[how](data)
            except ImportError:
                return None
            return self._outcome(data, how == 2 and len(data) % 61 == 0) or _looked_at(data) or self._beside()

    def _outcome(self, data: bytes, by_helpers: bool) -> str | None:
        shutil.rmtree(self.root, ignore_errors=True)
        os.mkdir(self.root)
        nested = len(data) % 3 == 0
        reader = BytesReader(data, "fuzzed")
        with contextlib.ExitStack() as stack:
            if len(data) % 2 and not by_helpers:  # large members are written in pieces, and by threads
                stack.enter_context(mock.patch.object(zip_members, "WHOLE_BYTES", 64))
                stack.enter_context(mock.patch.object(zip_extract, "THREADS_FROM_BYTES", 0))
                stack.enter_context(mock.patch.object(zip_extract, "SMALL_BYTES", 1))
            if by_helpers:
                path = os.path.join(stack.enter_context(tempfile.TemporaryDirectory()), "fuzzed")
                Path(path).write_bytes(data)
                reader = stack.enter_context(FileReader(path))
                stack.enter_context(mock.patch.object(zip_extract, "HELPERS_FROM_FILES", 1))
                stack.enter_context(mock.patch.object(zip_directory, "PART_ENTRIES", 1 + len(data) % 5))
            try:
                done = unpack(reader, Path(self.root), free_bytes=FREE_BYTES, nested=nested)
            except DatastageError as error:
                str(error)
                return f"left {os.listdir(self.root)} after: {error}" if os.listdir(self.root) else None
            except Exception as error:
                return f"raised {error!r}"
        self.n_accepted += 1
        return (
            self._odd()
            or self._said(done)
            or (None if nested or done.n_replaced else _otherwise(data, done.format, self.root))
        )

    def _odd(self) -> str | None:
        top = os.path.realpath(self.root)
        for folder, folders, files in os.walk(self.root):
            for name in folders + files:
                path = os.path.join(folder, name)
                if not (os.path.isfile(path) or os.path.isdir(path) or os.path.islink(path)):
                    return f"made something odd: {path!r}"
                real = os.path.realpath(path)
                if real != top and not real.startswith(top + os.sep):
                    return f"leads outside: {path!r}"
                if os.lstat(path).st_mode & 0o6000:
                    return f"is setuid or setgid: {path!r}"
        return None

    def _said(self, done) -> str | None:
        said = {each.path: f"-> {each.target}" if each.target is not None else each[1:3] for each in done.files}
        there = {
            path: value if isinstance(value, str) else (len(value), zlib.crc32(value))
            for path, value in tree(Path(self.root)).items()
            if value is not None
        }
        return None if said == there and len(done.files) == len(there) else f"says {said}, and there is {there}"

    def _beside(self) -> str | None:
        beside = os.listdir(self.base)
        return None if beside == ["to"] else f"made something beside the folder: {beside}"


def _most_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if resource else 0


def _printed(contents: bytes):
    class Printed(external_tools._Printed):
        """What a tool would print, without the tool."""

        def __init__(self, *_: object) -> None:
            self.stream = Bytes(iter((contents,)))
            self._stdout, self._said = io.BytesIO(), io.BytesIO()
            self._process = SimpleNamespace(kill=lambda: None, wait=lambda: 0)
            self._password, self.is_strong = None, False

    return Printed


def _looked_at(data: bytes) -> str | None:
    for look in (list_members, iter_members):
        try:
            for found in look(BytesReader(data, "fuzzed")):
                stream = found[1] if look is iter_members else None
                for _ in range(FREE_BYTES >> 20 if stream else 0):
                    if not stream.read(1 << 20):
                        break
        except DatastageError as error:
            str(error)
        except Exception as error:
            return f"looking at it raised {error!r}"
    return None


class _Header(tarfile.TarInfo):
    """A header of which tarfile cannot read a number is passed over with `ignore_zeros`: then it reads nothing here."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.InvalidHeaderError as error:
            if "checksum" in str(error):
                raise
            raise ValueError(str(error)) from error


def _otherwise(data: bytes, form: str, root: str) -> str | None:
    """Say how the contents differ from what others read; None where they do not, or where those read nothing."""
    ours = {path: value for path, value in tree(Path(root)).items() if isinstance(value, bytes)}
    theirs: dict[str, bytes] = {}
    try:
        if form == "zip":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for info in archive.infolist():
                    if junk_kind(info.filename):
                        continue
                    if not info.is_dir() and not (info.create_system in (3, 19) and info.external_attr >> 28 == 0xA):
                        theirs[_path_of(info.filename)] = archive.read(info)
        elif form.startswith("tar"):
            with tarfile.open(fileobj=io.BytesIO(data), ignore_zeros=True, errorlevel=2, tarinfo=_Header) as archive:
                for info in archive:
                    if junk_kind(info.name):
                        continue
                    if info.isreg() and info.size <= FREE_BYTES:
                        theirs[_path_of(info.name)] = archive.extractfile(info).read()
                    if info.islnk() or ("GNU.sparse.major" in info.pax_headers and not info.issparse()):
                        return None  # tarfile knows sparse files of version 1.0, GNU tar and we those of 1.5 too
        elif form in ("gz", "bz2", "xz"):
            theirs["x"] = {"gz": gzip, "bz2": bz2, "xz": lzma}[form].decompress(data)
        else:
            return None
    except Exception:
        return None
    mine, other = Counter(filter(None, ours.values())), Counter(filter(None, theirs.values()))
    if mine == other or (form.startswith("tar") and other <= mine):  # tarfile passes over kinds that it does not know
        return None
    return f"holds {ours}, and others read {theirs}"


def _path_of(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in ("", "."))


# --- fuzzing ---


def mutated(data: bytes, dice: random.Random) -> bytes:
    """Return `data` with a few changes of the kinds that parsers trip over."""
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 9))):
        if len(out) < 2:
            break
        at = dice.randrange(1, len(out))
        kind = dice.randrange(7)
        if kind == 0:
            out[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            out[at : at + 4] = dice.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"../\0", b"/tmp", b"\x01\0\0\0"))
        elif kind == 2:
            del out[at : at + dice.randrange(1, 40)]
        elif kind == 3:
            out[at:at] = dice.randbytes(dice.randrange(1, 20))
        elif kind == 4:
            begin = dice.randrange(len(out))
            out[at:at] = out[begin : begin + dice.randrange(1, 600)]
        elif kind == 5:
            del out[at:]
        else:
            out[at] = dice.randrange(256)
    return bytes(out)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--plain", action="store_true", help="do without atheris")
    parser.add_argument("--again", type=Path, help="judge this input alone")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else random.randrange(1, 1 << 31)
    if args.child:
        _guided(*args.child, int(args.seconds), seed)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as place:
        base, corpus = os.path.join(place, "base"), os.path.join(place, "corpus")
        os.mkdir(base)
        if args.again:
            Judge(base)(args.again.read_bytes())
            print("no finding")
            return 0
        if args.plain or atheris is None:
            return _plain(Judge(base), args.seconds, seed)
        os.mkdir(corpus)
        for nth, data in enumerate(seeds()):
            Path(corpus, str(nth)).write_bytes(data)
        # libFuzzer ends its process as it likes: it gets one of its own, and this one cleans up.
        command = [sys.executable, __file__, f"--seconds={args.seconds}", f"--seed={seed}", "--child", base, corpus]
        return subprocess.run(command).returncode


def _guided(base: str, corpus: str, seconds: int, seed: int) -> None:
    options = [f"-max_total_time={seconds}", f"-seed={seed}", "-max_len=6000", "-rss_limit_mb=2048", "-verbosity=0"]
    atheris.Setup([sys.argv[0], corpus, *options, "-print_final_stats=1"], Judge(base))
    atheris.Fuzz()


def _plain(judge: Judge, seconds: float, seed: int) -> int:
    dice = random.Random(seed)
    good = seeds()
    n, ends = 0, time.monotonic() + seconds
    while time.monotonic() < ends:
        judge(mutated(dice.choice(good), dice))
        n += 1
    print(f"{n:,} inputs in {seconds:.0f} s, {judge.n_accepted:,} accepted, no finding (seed {seed}, without atheris)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
