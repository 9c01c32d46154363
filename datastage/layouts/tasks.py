"""What other tasks look like, and data that has no layout known here: recognised, said, and how to feed it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from datastage.errors import SpecError
from datastage.layouts import words
from datastage.layouts.beside import FEED
from datastage.layouts.folders import told_by_names
from datastage.layouts.shape import SAY_WHICH, Shape
from datastage.layouts.tree import Tree
from datastage.progress import some

NEEDED = "A folder for each class is needed: cats/1.jpg, dogs/2.jpg; or train/cats/1.jpg, test/cats/3.jpg."
_MARKS = (".json", ".xml", ".txt")
OPENED_WITH = {
    ".h5": "h5py", ".hdf5": "h5py", ".mat": "scipy.io.loadmat", ".parquet": "pandas.read_parquet",
    ".xlsx": "pandas.read_excel", ".xls": "pandas.read_excel", ".npy": "numpy.load", ".p": "pickle",
    ".pkl": "pickle", ".pickle": "pickle", ".pt": "torch.load", ".pth": "torch.load", ".tfrec": "tensorflow",
    ".tfrecord": "tensorflow", ".dcm": "pydicom", ".nii": "nibabel", ".arrow": "pyarrow",
    ".feather": "pandas.read_feather", ".bson": "bson", ".json": "json", ".rds": "pyreadr", ".sqlite": "sqlite3",
    ".db": "sqlite3", ".arff": "scipy.io.arff", ".svs": "openslide", ".lmdb": "lmdb", ".tar": "webdataset",
}  # fmt: skip
_MAY_RUN = ", which may run code when they are opened, so only you can say that they are to be"
ARCHIVES = frozenset((".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".xz", ".bz2", ".zst"))


def refuse_others(tree: Tree, shape: Shape) -> None:
    """Raise where pictures are for another task: masks lie beside them, two domains, or files with boxes."""
    if shape.masks:
        tops = sorted({next(filter(words.is_mask, node.path.split("/")), node.name) for node, _ in shape.masks})
        n = sum(len(node.pictures) for node, _ in shape.masks)
        raise SpecError(
            f"{tree.where} holds {shape.n_pictures:,} pictures and {n:,} masks or labels drawn over them, in "
            f"{some(tops)}: this is segmentation, and the folders are no classes{_beside(tree)}.",
            *FEED,
            'Or, for the pictures alone: datastage.loaders(path, labels="TABLE:COLUMN", batch_size=64).',
        )
    tops = sorted(filter(words.is_domain, _folders_of(leaf.node.path for leaf in shape.leaves)))  # trainA, trainB
    if len(tops) > 1:
        raise SpecError(
            f"{tree.where} holds the folders {some(tops)}: domains to translate between, and no classes.",
            *FEED,
            f'Or, if they are classes after all: labels=r"({"|".join(tops)})/".',
        )
    _refuse_marked(tree, shape)


def refuse_formats(tree: Tree, classes: Sequence[str]) -> None:
    """Ask what folders are that are called by the form of their files: ``monet_jpg``, ``photo_jpg``."""
    if not all(len(parts := words.words_of(name)) > 1 and f".{parts[-1]}" in words.PICTURES for name in classes):
        return
    raise SpecError(
        f"{tree.where} holds the folders {some(list(classes))}: their names tell the form of the files. They may "
        "be domains to translate between, or classes.",
        f"{SAY_WHICH} classes={list(classes[:4])}, if they are classes." if len(classes) < 5 else
        f"{SAY_WHICH} labels=lambda name: name.split('/')[-2], if they are classes.",
        *FEED,
    )  # fmt: skip


def _refuse_marked(tree: Tree, shape: Shape) -> None:
    """Raise where a file about each picture, or one about all, holds boxes or outlines."""
    stems = set(map(words.stem_of, shape.paths()))
    marks: dict[str, list[str]] = {}
    for path in tree.files():
        name = path[path.rfind("/") + 1 :]
        suffix = words.suffix_of(name)
        of = name[: len(name) - len(suffix)]
        if suffix in _MARKS and (of in stems or words.suffix_of(of) in words.PICTURES):
            marks.setdefault(suffix, []).append(path)
    suffix, paths = max(marks.items(), key=lambda item: len(item[1]), default=("", []))
    if len(paths) >= max(1, len(stems) / 2):
        where = paths[0].rpartition("/")[0]
        kind = "boxes in the text form of YOLO" if suffix == ".txt" else "boxes or outlines"
        raise SpecError(
            f"Beside the {shape.n_pictures:,} pictures in {tree.where} lies a {suffix} file about each ({paths[0]}"
            f"{', in ' + where if where else ''}): {kind}, so this is detection or segmentation, and no class folders"
            f"{_beside(tree)}.",
            *FEED,
        )
    about = [path for path in tree.files() if _is_about_all(tree, path)]
    if about:
        raise SpecError(
            f"{some(about)} in {tree.where} says what is in each of {shape.n_pictures:,} pictures (boxes, outlines, "
            "captions): this is detection or segmentation, and no class folders.",
            *FEED,
        )


def _is_about_all(tree: Tree, path: str) -> bool:
    name = path[path.rfind("/") + 1 :].lower()
    if name in ("annotations.xml", "data.yaml", "_annotations.txt", "via_region_data.json"):
        return True
    if not name.endswith(".json"):
        return False
    with tree.open(path) as file:
        head = file.read(1 << 16)
    return b'"images"' in head and (b'"annotations"' in head or b'"file_name"' in head) or b'"regions"' in head


def unlabelled(tree: Tree, shape: Shape) -> SpecError:
    """Say that pictures have no labels that can be told, and what was seen."""
    train = sorted(shape.paths("train"))
    folders = sorted({leaf.node.name for leaf in shape.parts.get("train", []) if leaf.node.path})
    lone = ""
    if len(folders) == 1 and words.split_of(folders[0]):
        lone = f"The folder {folders[0]} holds the pictures themselves; in it a folder for each class is looked for."
    elif len(folders) == 1:
        lone = (
            f"They lie in one folder, {folders[0]}, and one class is nothing to learn (classes=[{folders[0]!r}] takes "
            "it all the same)."
        )
    beside = _beside(tree)
    names = told_by_names(train)
    where, labels = '"TABLE:COLUMN", or a function of each path', "..."
    if names:
        where, labels = "from the file names", r'r"([^/]+?)[._ -]*\d+\.\w+$"'
    return SpecError(
        f"The images in {tree.where} do not lie in class folders, so they have no labels.",
        *filter(None, (lone, f"What lies beside{beside.replace(', beside', '')}." if beside else "", names)),
        NEEDED,
        f"{SAY_WHICH} {where}: datastage.loaders(path, labels={labels}, batch_size=64)",
    )


def _beside(tree: Tree) -> str:
    """Name the files and folders that may say something about the pictures."""
    files = [
        path
        for path in tree.files()
        if words.suffix_of(path) in OPENED_WITH.keys() | words.TABLES | {".txt", ".xml", ".yaml"} | ARCHIVES
    ]
    few = sorted(path for path in files if not re.search(r"(?i)(readme|license|licence)", path))
    if len(few) > 6:
        few = sorted({path.rpartition("/")[0].rpartition("/")[2] + "/" if "/" in path else path for path in few})
    folders = sorted({name for path in tree.folders if (name := path.rpartition("/")[2]) and words.is_mask(name)})
    told = some([*few, *folders], 8)
    return f", beside: {told}" if told else ""


def no_pictures(tree: Tree) -> SpecError:
    """Say what data without pictures and tables is, by what most of its files are."""
    found: dict[str, list[str]] = {}
    for path in tree.files():
        found.setdefault(words.suffix_of(path), []).append(path)
    about = [one for one in found if one not in ("", ".md", ".pdf", ".html", ".py", ".ipynb", ".yaml", ".docx")]
    about = about or list(found)
    if not about:
        return SpecError(
            f"There are no images in {tree.where}.",
            f"Images end in {', '.join(sorted(words.PICTURES))}, and lie in a folder for each class.",
        )
    most = max(about, key=lambda one: (one in OPENED_WITH or one in ARCHIVES, one in words.SOUNDS, len(found[one])))
    if any(one in words.SOUNDS | words.FILMS for one in about):
        most = max((one for one in about if one in words.SOUNDS | words.FILMS), key=lambda one: len(found[one]))
    paths = sorted(found[most], key=_first_to_name)
    folders = _folders_of(path.rpartition("/")[0] for path in paths)
    what = f"{len(paths):,} {most or 'other'} files ({some(paths)})"
    if most in ARCHIVES:
        return SpecError(
            f"{tree.where} holds archives, {some(paths)}, and no images outside them.",
            f"Next: datastage.loaders(path / {paths[0]!r}, batch_size=64), or datastage.stage(path / {paths[0]!r}) "
            "unpacks one.",
        )
    if most in words.SOUNDS | words.FILMS | {".txt"}:
        kind = "sound" if most in words.SOUNDS else "films" if most in words.FILMS else "text"
        return SpecError(
            f"There are no images in {tree.where}: it holds {kind}, {what}"
            f"{', in the folders ' + some(folders) if folders else ''}. Batches of it are made by a Dataset of "
            "yours.",
            *FEED,
        )
    opener = OPENED_WITH.get(most)
    return SpecError(
        f"There are no images in {tree.where}: it holds {what}{_MAY_RUN if opener == 'pickle' else ''}.",
        f"Next: open {'them' if len(paths) > 1 else 'it'} with {opener or 'what wrote it'} and pass the arrays: "
        "datastage.loaders((images, labels), batch_size=64)",
        'or say what is what: labels="FILE:NAME" of the array or column of labels.'
        if most in (".npy", ".h5", ".hdf5", ".mat", ".parquet")
        else "or feed a Dataset of yours: datastage.feed(dataset, batch_size=64).",
    )


def _first_to_name(path: str) -> tuple[bool, int, str]:
    return words.split_of(words.stem_of(path)) != "train", path.count("/"), path


def _folders_of(folders: Iterable[str]) -> list[str]:
    """Return the names of these folders and of those around them."""
    return sorted({name for folder in folders for name in folder.split("/")} - {""})


def refuse_sounds(tree: Tree, shape: Shape) -> None:
    """Raise where there are half as many sounds or films as pictures, or more."""
    sounds = [path for path in tree.files() if words.suffix_of(path) in words.SOUNDS | words.FILMS]
    if not sounds or 2 * len(sounds) < shape.n_pictures:
        return
    suffix = words.suffix_of(sounds[0])
    folders = _folders_of(path.rpartition("/")[0] for path in sounds)
    pictures = _folders_of(leaf.node.path for leaf in shape.leaves)
    raise SpecError(
        f"{tree.where} holds {len(sounds):,} {suffix} files ({some(folders)}) and {shape.n_pictures:,} pictures "
        f"({some(pictures)}), perhaps of the same samples: which are meant?",
        f"{SAY_WHICH} the pictures: datastage.loaders(path, labels=lambda name: name.split('/')[-2], batch_size=64)",
        *FEED,
    )
