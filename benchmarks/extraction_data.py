"""Make the archives that `extraction.py` measures: W1 to W5, the same bytes on every machine with the same zlib.

    python benchmarks/extraction_data.py FOLDER [--scale 1.0]

Pictures are noise with some smoothness, as real as a packer can tell: PNGs of 32 x 32 of 2.2 KB, JPEGs of about 100 KB
(with Pillow; without it, bytes as hard to pack). What is there already is kept.
"""

from __future__ import annotations

import argparse
import io
import random
import struct
import subprocess
import tarfile
import zipfile
import zlib
from pathlib import Path


def png(dice: random.Random) -> bytes:
    """Return a 32 x 32 RGB PNG of noise, about 2.2 KB."""
    side = 32
    level = [dice.randrange(256) for _ in range(3)]
    rows = bytearray()
    for _ in range(side):
        rows.append(0)
        for _ in range(side):
            for c in range(3):
                level[c] = (level[c] + dice.choice((-5, -3, -2, -1, -1, 0, 1, 1, 2, 3, 5))) & 255
                rows.append(level[c])

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    head = struct.pack(">LLBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(rows), 6))
        + chunk(b"IEND", b"")
    )


def jpeg(seed: int) -> bytes:
    """Return a JPEG of noise of about 100 KB."""
    dice = random.Random(seed)
    try:
        from PIL import Image
    except ImportError:
        return b"\xff\xd8" + dice.randbytes(99_000) + bytes(1000)
    small = Image.frombytes("RGB", (125, 94), dice.randbytes(125 * 94 * 3)).resize((500, 375), Image.Resampling.BICUBIC)
    fine = Image.frombytes("RGB", (500, 375), dice.randbytes(500 * 375 * 3))
    out = io.BytesIO()
    Image.blend(small, fine, 0.25).save(out, "JPEG", quality=87)
    return out.getvalue()


def many_pngs(path: Path, n: int) -> None:
    dice = random.Random(1)
    pictures = [png(dice) for _ in range(min(n, 2000))]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(n):
            part = "test" if i % 6 == 5 else "train"
            archive.writestr(f"pngs/{part}/{i * 10 // n}/{i:05d}.png", pictures[i % len(pictures)])


def photos(path: Path, n: int) -> None:
    pictures = [jpeg(seed) for seed in range(min(n, 200))]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(n):
            archive.writestr(f"photos/{i * 50 // n:02d}/{i:05d}.jpg", pictures[i % len(pictures)])


def cifar_parts() -> list[tuple[str, bytes]]:
    """Return six files of the size and nature of CIFAR-10's: pickles of smooth noise, 31 MB each."""
    parts = []
    low = bytes(n & 7 for n in range(256))
    for nth in range(6):
        dice = random.Random(100 + nth)
        out = bytearray()
        for _ in range(500):  # 500 base pictures, each 20 times with other low bits: as packable as photographs
            base = bytearray()
            level = dice.randrange(256)
            for _ in range(3072):
                level = (level + dice.choice((-14, -9, -6, -3, -2, -1, 0, 1, 2, 3, 6, 9, 14))) & 255
                base.append(level)
            for _ in range(20):
                noise = int.from_bytes(dice.randbytes(3072).translate(low))
                out += (int.from_bytes(base) ^ noise).to_bytes(3072)
        parts.append((f"cifar-10-batches-py/data_batch_{nth + 1}", bytes(out)))
    return parts


def tar_of(parts: list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in parts:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1_600_000_000
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def csv_block(seed: int) -> bytes:
    """Return about 8 MB of csv, packable to a third."""
    dice = random.Random(seed)
    return "".join(
        f"{i},{dice.random():.6f},{dice.gauss(0, 1):.4f},{dice.choice(('setosa', 'versicolor', 'virginica'))},"
        f"{dice.randrange(10**9)}\n"
        for i in range(200_000)
    ).encode()


def big_csv(path: Path, n_bytes: int) -> None:
    """Two members of csv, level 1."""
    block = csv_block(7)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1, allowZip64=True) as archive:
        for name in ("train.csv", "test.csv"):
            with archive.open(name, "w", force_zip64=True) as member:
                done = 0
                while done < n_bytes:
                    member.write(block)
                    done += len(block)


def ten_files(path: Path) -> None:
    dice = random.Random(3)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(10):
            archive.writestr(f"ten/{i}.bin", dice.randbytes(10_000) + bytes(10_000))


def make(folder: Path, scale: float = 1.0) -> dict[str, Path]:
    """Make what is missing, and return the archives by name."""
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, Path] = {}

    def once(key: str, name: str, build) -> None:
        path = folder / name
        if not path.exists():
            part = path.with_suffix(".part")
            build(part)
            part.rename(path)
        made[key] = path

    once("W1", "pngs.zip", lambda path: many_pngs(path, int(50_000 * scale)))
    once("W2", "photos.zip", lambda path: photos(path, int(5_000 * scale)))

    def tar(path: Path) -> None:
        path.write_bytes(tar_of(cifar_parts()[: max(1, round(6 * scale))]))

    once("tar", "cifar.tar", tar)
    source = made.pop("tar")

    def tables(path: Path) -> None:
        block = csv_block(7)
        n = max(1, round(200e6 * scale / len(block)))
        path.write_bytes(tar_of([(f"tables/{nth}.csv", block[nth:] + block[:nth]) for nth in range(n)]))

    once("tables", "tables.tar", tables)
    tables_tar = made.pop("tables")
    for key, name, command in (
        ("W3", "cifar.tar.gz", ["gzip", "-6c"]),
        ("W5 xz", "tables.tar.xz", ["xz", "-3", "-T1", "-c"]),
        ("W5 bz2", "tables.tar.bz2", ["bzip2", "-9c"]),
        ("W5 zst", "tables.tar.zst", ["zstd", "-3", "-q", "-c"]),
        ("W5 lz4", "tables.tar.lz4", ["lz4", "-1", "-q", "-c"]),
    ):

        def pack(path: Path, command=command, from_=source if key == "W3" else tables_tar) -> None:
            with open(path, "wb") as out, open(from_, "rb") as data:
                subprocess.run(command, stdin=data, stdout=out, check=True)

        try:
            once(key, name, pack)
        except OSError:
            print(f"{key}: no {command[0]} here")
    once("W4", "csv.zip", lambda path: big_csv(path, int(1_050_000_000 * scale)))
    once("ten", "ten.zip", ten_files)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=float, default=1.0)
    args = parser.parse_args()
    for key, path in make(args.folder, args.scale).items():
        print(f"{key:15} {path.stat().st_size:>13,}  {path}")


if __name__ == "__main__":
    main()
