"""Small data of many kinds, for tests to make."""

import io
import tarfile
import zipfile
from collections.abc import Mapping


def picture(path, side=8, seed=0):
    """Write a small picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def photos(folder, *kinds, n=6, side=8, mixed=False, suffix="png"):
    """Write class folders of pictures."""
    for kind in kinds:
        for i in range(n):
            picture(folder / kind / f"{i}.{suffix}", side + (i if mixed else 0), i)
    return folder


def packed(folder, archive):
    """Pack what a folder holds into an archive beside it."""
    target = folder.parent / archive
    if archive.endswith(".zip"):
        with zipfile.ZipFile(target, "w") as file:
            for path in sorted(folder.rglob("*")):
                file.write(path, path.relative_to(folder))
    else:
        with tarfile.open(target, "w:gz") as file:
            file.add(folder, arcname=".")
    return target


def table_beside(folder, *columns, row, n=12, **files):
    """Pictures in one folder, and train.csv with a row for each."""
    for i in range(n):
        picture(folder / "images" / f"{i}.png", seed=i)
    lines = [",".join(("id", *columns)), *(f"{i}.png,{row(i)}" for i in range(n))]
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    return folder


def written(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def saved(path, **arrays):
    import numpy as np

    np.savez(path, **arrays)
    return path


def images(n):
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), np.uint8)


def zipped(files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return made.getvalue()


def tarred(files: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:
        for name, body in files.items():
            item = tarfile.TarInfo(name)
            item.size = len(body)
            archive.addfile(item, io.BytesIO(body))
    return made.getvalue()
