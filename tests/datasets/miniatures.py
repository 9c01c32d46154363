"""A small copy of every dataset of the catalog, laid out as its publisher lays it out, and what must be read of it.

Each picture is one grey that tells its class, so that a label can be compared with what is shown. How each set lies is
told by torchvision 0.29, tensorflow-datasets 4.9, medmnist 3.0, keras and the publishers' own notes.
"""

from __future__ import annotations

import bz2
import gzip
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from tests.made_data import tarred, zipped

Files = dict[str, bytes]
STEP = 24
"""The grey of one class is so much lighter than that of the class before it."""


@dataclass
class Mini:
    """A miniature: its published files by name, the samples of each part by class, and what an error must name."""

    parts: dict[str, bytes]
    want: dict[str, dict[str, int]] = field(default_factory=dict)
    names: tuple[str, ...] = ()  # the classes in the order of their greys
    refused: str = ""  # of what is staged whole and fed by another library: what the error says
    table: dict[str, list[float]] = field(default_factory=dict)  # labels by part, where the samples are rows
    several: dict[str, list[list[int]]] = field(default_factory=dict)  # labels by part, where a sample has several
    options: dict[str, Any] = field(default_factory=dict)


class Box:
    """Makes the pictures of a set, and counts them."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.want: dict[str, dict[str, int]] = {}
        self.files: Files = {}

    def grey(self, name: str) -> int:
        return 12 + STEP * self.names.index(name)

    def photo(self, path: str, name: str, part: str | None, *, side: int = 8) -> None:
        """Put a picture of this class at `path`; `part` None is one that must not be used."""
        made = io.BytesIO()
        kind = {"jpg": "JPEG", "jpeg": "JPEG", "ppm": "PPM"}.get(path.rpartition(".")[2].lower(), "PNG")
        Image.new("RGB", (side, side), (self.grey(name),) * 3).save(made, kind)
        self.files[path] = made.getvalue()
        self.count(part, name)

    def count(self, part: str | None, name: str, n: int = 1) -> None:
        if part is not None:
            counts = self.want.setdefault(part, {})
            counts[name] = counts.get(name, 0) + n

    def array(self, part: str, names: list[str], side: int, channels: int = 1) -> Any:
        """Return pictures of these classes as uint8 (N, H, W, C)."""
        for name in names:
            self.count(part, name)
        greys = np.array([self.grey(name) for name in names], np.uint8)
        return np.broadcast_to(greys[:, None, None, None], (len(names), side, side, channels)).copy()

    def take(self) -> Files:
        """Give the files made so far, and begin anew."""
        files, self.files = self.files, {}
        return files

    def mini(self, parts: dict[str, bytes], **more: Any) -> Mini:
        return Mini(parts, self.want, self.names, **more)


def lines(*rows: str) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


def idx(array: Any, kind: int = 8) -> bytes:
    array = np.asarray(array)
    head = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype({8: ">u1", 12: ">i4"}[kind]).tobytes()


def mat(**arrays: Any) -> bytes:
    from scipy.io import savemat

    made = io.BytesIO()
    savemat(made, arrays, do_compression=True)
    return made.getvalue()


def h5(**arrays: Any) -> bytes:
    import h5py

    made = io.BytesIO()
    with h5py.File(made, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return gzip.compress(made.getvalue())


# --- pictures in arrays


def idx_set(names: tuple[str, ...], prefix: dict[str, str]) -> Mini:
    box, parts = Box(*names[:3]), {}
    for part, start in prefix.items():
        of_part = [names[0], names[2], names[1]] if part == "train" else [names[1]]
        pixels = box.array(part, of_part, 28)[..., 0]
        parts[f"{start}-images-idx3-ubyte.gz"] = gzip.compress(idx(pixels))
        parts[f"{start}-labels-idx1-ubyte.gz"] = gzip.compress(idx([names.index(name) for name in of_part]))
    return box.mini(parts)


def kmnist() -> Mini:
    return idx_set(("o", "ki", "su"), {"train": "train", "test": "t10k"})


def qmnist() -> Mini:
    box, parts = Box("0", "1", "2"), {}
    for part, names in (("train", ["0", "2", "1"]), ("test", ["1"])):
        parts[f"qmnist-{part}-images-idx3-ubyte.gz"] = gzip.compress(idx(box.array(part, names, 28)[..., 0]))
        rows = [[int(name), 9, 8, 7, 6, 5, 0, 0] for name in names]  # the class, then who wrote it, and where
        parts[f"qmnist-{part}-labels-idx2-int.gz"] = gzip.compress(idx(rows, 12))
    return box.mini(parts)


def emnist() -> Mini:
    box, files = Box("0", "A", "a"), {}
    numbers = {"0": 0, "A": 10, "a": 36}
    for part, names in (("train", ["0", "a", "A"]), ("test", ["A"])):
        pixels = box.array(part, names, 28)[..., 0]
        pixels[:, 0, 27] = 255  # published images are transposed: shown, this dot is at the lower left
        files[f"gzip/emnist-balanced-{part}-images-idx3-ubyte.gz"] = gzip.compress(idx(pixels))
        files[f"gzip/emnist-balanced-{part}-labels-idx1-ubyte.gz"] = gzip.compress(idx([numbers[n] for n in names]))
        files[f"gzip/emnist-letters-{part}-images-idx3-ubyte.gz"] = gzip.compress(idx(pixels[:1]))
        files[f"gzip/emnist-letters-{part}-labels-idx1-ubyte.gz"] = gzip.compress(idx([1]))
    codes = [*range(48, 58), *range(65, 91), *map(ord, "abdefghnqrt")]
    files["gzip/emnist-balanced-mapping.txt"] = lines(*(f"{n} {code}" for n, code in enumerate(codes)))
    files["gzip/emnist-letters-mapping.txt"] = lines(*(f"{n} {64 + n} {96 + n}" for n in range(1, 27)))
    return box.mini({"gzip.zip": zipped(files)})


def svhn() -> Mini:
    box, parts = Box("0", "1", "2"), {}
    for part, names in (("train", ["0", "2", "1", "2"]), ("test", ["1"])):
        pixels = box.array(part, names, 32, 3).transpose(1, 2, 3, 0)
        labels = np.array([[int(name) or 10] for name in names], np.uint8)  # the digit 0 is labelled 10
        parts[f"{part}_32x32.mat"] = mat(X=pixels, y=labels)
    return box.mini(parts)


def stl10() -> Mini:
    classes = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
    box, files = Box(*classes), {}
    for part, names in (("train", ["airplane", "truck", "bird"]), ("test", ["cat"])):
        pixels = box.array(part, names, 96, 3)
        pixels[:, 0, 95] = 255  # planes by columns: as published, this dot is at the lower left
        files[f"stl10_binary/{part}_X.bin"] = pixels.transpose(0, 3, 2, 1).tobytes()
        files[f"stl10_binary/{part}_y.bin"] = bytes(1 + classes.index(name) for name in names)
    files["stl10_binary/unlabeled_X.bin"] = bytes(2 * 27648)
    files["stl10_binary/class_names.txt"] = lines(*classes)
    files["stl10_binary/fold_indices.txt"] = lines("0 1")
    return box.mini({"stl10_binary.tar.gz": tarred(files)})


def usps() -> Mini:
    box, parts = Box("0", "1", "2"), {}
    for part, names, file in (("train", ["0", "2", "1"], "usps.bz2"), ("test", ["1"], "usps.t.bz2")):
        rows = []
        for name in names:
            box.count(part, name)
            value = box.grey(name) / 127.5 - 1
            rows.append(f"{int(name) + 1} " + " ".join(f"{at}:{value:.4f}" for at in range(1, 257)))
        parts[file] = bz2.compress(lines(*rows))
    return box.mini(parts)


def pcam() -> Mini:
    box, parts = Box("normal", "tumor"), {}
    for part, word, names in (
        ("train", "train", ["tumor", "normal"]),
        ("val", "valid", ["normal"]),
        ("test", "test", ["tumor"]),
    ):
        labels = np.array([names_ == "tumor" for names_ in names], np.uint8).reshape(-1, 1, 1, 1)
        parts[f"camelyonpatch_level_2_split_{word}_x.h5.gz"] = h5(x=box.array(part, names, 96, 3))
        parts[f"camelyonpatch_level_2_split_{word}_y.h5.gz"] = h5(y=labels)
    return box.mini(parts)


def medmnist(name: str, classes: tuple[str, ...], channels: int) -> Mini:
    box, arrays = Box(*classes[:3]), {}
    for part, numbers in (("train", [1, 0, 1]), ("val", [0]), ("test", [1])):
        pixels = box.array(part, [classes[n] for n in numbers], 28, channels)
        arrays[f"{part}_images"] = pixels if channels == 3 else pixels[..., 0]
        arrays[f"{part}_labels"] = np.array(numbers, np.uint8)[:, None]
    made = io.BytesIO()
    np.savez(made, **arrays)
    return box.mini({f"{name}.npz": made.getvalue()})


def chestmnist() -> Mini:
    rows = {"train": [[0] * 13 + [1], [1, 1] + [0] * 12], "val": [[0] * 14], "test": [[1] + [0] * 13, [1] * 14]}
    arrays: dict[str, Any] = {}
    for part, labels in rows.items():
        arrays[f"{part}_images"] = np.zeros((len(labels), 28, 28), np.uint8)
        arrays[f"{part}_labels"] = np.array(labels, np.uint8)
    made = io.BytesIO()
    np.savez(made, **arrays)
    return Mini({"chestmnist.npz": made.getvalue()}, several=rows)


# --- pictures in files


def in_folders(file: str, where: dict[str, str], folders: dict[str, str], **more: bytes) -> Mini:
    """Make one archive; `where` says the folder of each part, `folders` what the folder of each class is called."""
    box = Box(*folders)
    for part, start in where.items():
        for name, folder in folders.items():
            for n in range(3 if part == "train" else 2):
                box.photo(f"{start.format(folder)}_{n}.jpg".replace("_0.jpg", "_00.jpg"), name, part)
    files = {**box.take(), **{name.replace("__", "/"): body for name, body in more.items()}}
    pack = zipped if file.endswith(".zip") else tarred
    return box.mini({file: pack(files) if not file.endswith(".tar") else tarred(files, "w")})


def fastai(top: str, wnids: dict[str, str]) -> Mini:
    box = Box(*wnids)
    for part in ("train", "val"):
        for name, wnid in wnids.items():
            for n in range(3 if part == "train" else 2):
                box.photo(f"{top}/{part}/{wnid}/{wnid}_{n}{part}.JPEG", name, part)
    files = box.take()
    names = [path.removeprefix(f"{top}/") for path in files]
    noisy = lines(
        "path,noisy_labels_0,noisy_labels_1,is_valid",
        *(f"{path},{path.split('/')[1]},{next(iter(wnids.values()))},{path.startswith('val')}" for path in names),
    )
    return box.mini({f"{top}.tgz": tarred({**files, f"{top}/noisy_imagenette.csv": noisy})})


def cats_vs_dogs() -> Mini:
    box = Box("Cat", "Dog")
    for name in box.names:
        for n in range(3):
            box.photo(f"PetImages/{name}/{n}.jpg", name, "train")
    files = box.take()
    files |= {"PetImages/Cat/Thumbs.db": b"x", "readme[1].txt": b"Asirra", "MSR-LA - 3467.docx": b"terms"}
    return box.mini({"kagglecatsanddogs_5340.zip": zipped(files)})


def dogs_vs_cats_redux() -> Mini:
    box = Box("cat", "dog")
    for name in box.names:
        for n in range(4):
            box.photo(f"train/{name}.{n}.jpg", name, "train")
    train = zipped(box.take())
    for n in range(2):
        box.photo(f"test/{n + 1}.jpg", "cat", None)
    files = {"train.zip": train, "test.zip": zipped(box.take()), "sample_submission.csv": lines("id,label", "1,0.5")}
    return box.mini({"dogs-vs-cats-redux-kernels-edition.zip": zipped(files)})


def without_top(names: tuple[str, ...], files: dict[str, tuple[str, str]], suffix: str = "png") -> Mini:
    """Make archives that hold class folders right away, or in a folder; `files` says part and folder of each."""
    box, parts = Box(*names), {}
    for file, (part, top) in files.items():
        for name in names:
            for n in range(3 if part == "train" else 2):
                box.photo(f"{top}{name}/{name}{part}-{n}.{suffix}", name, part)
        parts[file] = zipped(box.take())
    return box.mini(parts)


def flowers102() -> Mini:
    box = Box("pink primrose", "tiger lily", "passion flower")
    numbers = {"pink primrose": 1, "tiger lily": 6, "passion flower": 77}
    order = ["tiger lily", "passion flower", "pink primrose", "passion flower", "tiger lily", "pink primrose"]
    parts = {"trnid": [6, 1, 2], "valid": [4], "tstid": [3, 5]}
    of = {number: {"trnid": "train", "valid": "val", "tstid": "test"}[k] for k, v in parts.items() for number in v}
    for number, name in enumerate(order, 1):
        box.photo(f"jpg/image_{number:05}.jpg", name, of[number])
    labels = mat(labels=np.array([[numbers[name] for name in order]], np.uint8))
    ids = mat(**{key: np.array([value], np.uint16) for key, value in parts.items()})
    return box.mini({"102flowers.tgz": tarred(box.take()), "imagelabels.mat": labels, "setid.mat": ids})


def oxford_iiit_pet() -> Mini:
    box = Box("Abyssinian", "american_bulldog", "beagle")
    lists: dict[str, list[str]] = {"trainval": [], "test": []}
    notes: Files = {}
    for number, name in enumerate(box.names, 1):
        for n in range(5):
            part = "test" if n > 2 else "train"
            stem = f"{name}_{n + 1}"
            box.photo(f"images/{stem}.jpg", name, part)
            lists["test" if part == "test" else "trainval"].append(f"{stem} {number} {1 + name[0].islower()} {number}")
            notes |= {f"annotations/trimaps/{stem}.png": b"p", f"annotations/trimaps/._{stem}.png": b"x"}
            notes[f"annotations/xmls/{stem}.xml"] = b"<annotation/>"
    images = {**box.take(), "images/Abyssinian_100.mat": b"MATLAB", "images/Abyssinian_101.mat": b"MATLAB"}
    notes["annotations/list.txt"] = lines("#Image CLASS-ID SPECIES BREED ID", *lists["trainval"], *lists["test"])
    notes |= {f"annotations/{name}.txt": lines(*rows) for name, rows in lists.items()}
    notes["annotations/README"] = b"The pets"
    return box.mini({"images.tar.gz": tarred(images), "annotations.tar.gz": tarred(notes)})


def food101() -> Mini:
    box = Box("apple_pie", "baby_back_ribs", "waffles")
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for at, name in enumerate(box.names):
        for n in range(5):
            part = "test" if n > 2 else "train"
            box.photo(f"food-101/images/{name}/{1000 * at + n}.jpg", name, part)
            lists[part].append(f"{name}/{1000 * at + n}")
    files = box.take()
    for part, rows in lists.items():
        files[f"food-101/meta/{part}.txt"] = lines(*rows)
        by_class = ", ".join(f'"{n}": [{", ".join(chr(34) + r + chr(34) for r in rows if r.startswith(n))}]' for n in
                             box.names)  # fmt: skip
        files[f"food-101/meta/{part}.json"] = f"{{{by_class}}}".encode()
    files["food-101/meta/classes.txt"] = lines(*box.names)
    files["food-101/meta/labels.txt"] = lines("Apple pie", "Baby back ribs", "Waffles")
    files["food-101/README.txt"] = files["food-101/license_agreement.txt"] = b"fair use\n"
    return box.mini({"food-101.tar.gz": tarred(files)})


def caltech101() -> Mini:
    box = Box("BACKGROUND_Google", "Faces", "accordion", "ant")
    for name in box.names:
        for n in range(3):
            part = None if name == "BACKGROUND_Google" else "train"
            box.photo(f"101_ObjectCategories/{name}/image_{n:04}.jpg", name, part)
    inner = tarred(box.take())
    notes = tarred({"Annotations/ant/annotation_0001.mat": b"MATLAB"}, "w")
    files = {
        "caltech-101/101_ObjectCategories.tar.gz": inner,
        "caltech-101/Annotations.tar": notes,
        "caltech-101/show_annotation.m": b"% shows\n",
        "__MACOSX/caltech-101/._Annotations.tar": b"x",
    }
    return box.mini({"caltech-101.zip": zipped(files)})


def caltech256() -> Mini:
    box = Box("001.ak47", "002.american-flag", "257.clutter")
    for name in box.names:
        for n in range(3):
            box.photo(f"256_ObjectCategories/{name}/{name[:3]}_{n:04}.jpg", name, "train")
    files = {**box.take(), "256_ObjectCategories/198.spider/RENAME2": b"x"}
    return box.mini({"256_ObjectCategories.tar": tarred(files, "w")})


def dtd() -> Mini:
    box = Box("banded", "polka-dotted", "zigzagged")
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for name in box.names:
        for n in range(6):
            part = ("train", "val", "test")[n % 3]
            box.photo(f"dtd/images/{name}/{name}_{n:04}.jpg", name, part)
            lists[part].append(f"{name}/{name}_{n:04}.jpg")
    files = box.take()
    for part, rows in lists.items():
        files[f"dtd/labels/{part}1.txt"] = lines(*rows)
    for part, other in (("train", "val"), ("val", "test"), ("test", "train")):
        files[f"dtd/labels/{part}2.txt"] = lines(*lists[other])  # the second of ten partitions
    files["dtd/labels/labels_joint_anno.txt"] = lines(
        *(f"{row} {row.split('/')[0]}" for row in sum(lists.values(), []))
    )
    files["dtd/imdb/imdb.mat"] = b"MATLAB"
    return box.mini({"dtd-r1.0.1.tar.gz": tarred(files)})


def gtsrb() -> Mini:
    box = Box("00000", "00001", "00042")
    for name in box.names:
        folder = f"GTSRB/Training/{name}"
        rows = [f"0000{n}_00000.ppm;8;8;1;1;7;7;{int(name)}" for n in range(3)]
        for n in range(3):
            box.photo(f"{folder}/0000{n}_00000.ppm", name, "train")
        box.files[f"{folder}/GT-{name}.csv"] = lines("Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId", *rows)
    parts = {"GTSRB-Training_fixed.zip": zipped(box.take())}
    rows = []
    for n, name in enumerate(("00042", "00000", "00001", "00000")):
        box.photo(f"GTSRB/Final_Test/Images/{n:05}.ppm", name, "test")
        rows.append(f"{n:05}.ppm;8;8;1;1;7;7;{int(name)}")
    head = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2"
    box.files["GTSRB/Final_Test/Images/GT-final_test.test.csv"] = lines(head, *(row.rpartition(";")[0] for row in rows))
    parts["GTSRB_Final_Test_Images.zip"] = zipped(box.take())
    parts["GTSRB_Final_Test_GT.zip"] = zipped({"GT-final_test.csv": lines(f"{head};ClassId", *rows)})
    return box.mini(parts)


def tiny_imagenet() -> Mini:
    box, top = Box("n01443537", "n01629819", "n02124075"), "tiny-imagenet-200"
    rows = []
    for at, name in enumerate(box.names):
        for n in range(3):
            box.photo(f"{top}/train/{name}/images/{name}_{n}.JPEG", name, "train")
        box.files[f"{top}/train/{name}/{name}_boxes.txt"] = lines(*(f"{name}_{n}.JPEG\t0\t0\t8\t8" for n in range(3)))
        for n in (2 * at, 2 * at + 1):
            box.photo(f"{top}/val/images/val_{n}.JPEG", name, "val")
            rows.append(f"val_{n}.JPEG\t{name}\t0\t0\t8\t8")
        box.photo(f"{top}/test/images/test_{at}.JPEG", name, None)
    files = box.take()
    files[f"{top}/val/val_annotations.txt"] = lines(*rows)
    files[f"{top}/wnids.txt"] = lines(*reversed(box.names))
    files[f"{top}/words.txt"] = lines("n01443537\tgoldfish, Carassius auratus", "n01629819\tEuropean fire salamander",
                                      "n02124075\tEgyptian cat", "n00001740\tentity")  # fmt: skip
    return box.mini({"tiny-imagenet-200.zip": zipped(files)})


def celeba() -> Mini:
    box = Box("a", "b")
    attributes = ("5_o_Clock_Shadow", "Male", "Young")
    rows = {"train": [[0, 1, 1], [1, 1, 0]], "val": [[0, 0, 1]], "test": [[1, 0, 0]]}
    table, parts, people, number = [], [], [], 0
    for at, labels in enumerate(rows.values()):
        for label in labels:
            number += 1
            box.photo(f"img_align_celeba/{number:06}.jpg", "a", None)
            table.append(f"{number:06}.jpg {' '.join('1' if one else '-1' for one in label)}")
            parts.append(f"{number:06}.jpg {at}")
            people.append(f"{number:06}.jpg {100 + number}")
    files = {
        "img_align_celeba.zip": zipped(box.take()),
        "list_attr_celeba.txt": lines(str(number), f"{' '.join(attributes)} ", *table),
        "list_eval_partition.txt": lines(*parts),
        "identity_CelebA.txt": lines(*people),
    }
    return Mini(files, several=rows)


def lfw() -> Mini:
    box = Box("Aaron_Eckhart", "Zhang_Ziyi", "Zico")
    for name, n in (("Aaron_Eckhart", 1), ("Zhang_Ziyi", 3), ("Zico", 2)):
        for at in range(n):
            box.photo(f"lfw/{name}/{name}_{at + 1:04}.jpg", name, "train")
    return box.mini({"lfw.tgz": tarred(box.take())})


def malaria() -> Mini:
    mini = in_folders("cell_images.zip", {"train": "cell_images/{0}/C1_thin_IMG"},
                      {"Parasitized": "Parasitized", "Uninfected": "Uninfected"},
                      cell_images__Parasitized__xThumbs=b"")  # fmt: skip
    return mini


def fgvc_aircraft() -> Mini:
    box, top = Box("707-320", "A340-300", "Yak-42"), "fgvc-aircraft-2013b/data"
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for at, name in enumerate(("A340-300", "707-320", "Yak-42") * 3):
        part = ("train", "val", "test")[at // 3]
        box.photo(f"{top}/images/{1000 + at}.jpg", name, part)
        lists[part].append(f"{1000 + at} {name}")
    files = box.take()
    for level, of in (("variant", str), ("family", lambda n: n[:4]), ("manufacturer", lambda n: "Made")):
        for part, rows in {**lists, "trainval": lists["train"] + lists["val"]}.items():
            files[f"{top}/images_{level}_{part}.txt"] = lines(*(f"{r.split()[0]} {of(r.split()[1])}" for r in rows))
    files[f"{top}/variants.txt"] = lines(*box.names)
    files[f"{top}/families.txt"] = lines("707-", "A340", "Yak-")
    files[f"{top}/manufacturers.txt"] = lines("Made")
    files[f"{top}/images_box.txt"] = lines(*(f"{1000 + at} 1 1 7 7" for at in range(9)))
    return box.mini({"fgvc-aircraft-2013b.tar.gz": tarred(files)})


def clip(top: str, names: tuple[str, ...], suffix: str) -> Mini:
    box = Box(*names)
    for folder, part in (("train", "train"), ("valid", "val"), ("test", "test")):
        for name in names:
            for n in range(3 if part == "train" else 2):
                box.photo(f"{top}/{folder}/{name}/{folder}{n}.{suffix}", name, part)
    return box.mini({f"{top}.tgz": tarred(box.take())})


def sun397() -> Mini:
    box = Box("abbey", "apartment_building/outdoor", "bakery/shop")
    for name in box.names:
        for n in range(3):
            box.photo(f"SUN397/{name[0]}/{name}/sun_{n}{name[:2]}.jpg", name, "train")
    files = box.take()
    files["SUN397/ClassName.txt"] = lines(*(f"/{name[0]}/{name}" for name in box.names))
    files["SUN397/README.txt"] = b"SUN\n"
    return box.mini({"SUN397.tar.gz": tarred(files)})


def places365_val() -> Mini:
    box = Box("/a/airfield", "/a/apartment_building/outdoor", "/z/zen_garden")
    names = ["/z/zen_garden", "/a/airfield", "/a/apartment_building/outdoor", "/a/airfield"]
    for n, name in enumerate(names, 1):
        box.photo(f"val_256/Places365_val_{n:08}.jpg", name, "train")
    numbers = {"/a/airfield": 0, "/a/apartment_building/outdoor": 8, "/z/zen_garden": 364}
    every = {n: f"/b/class_{n}" for n in range(365)} | {number: name for name, number in numbers.items()}
    lists = {
        "categories_places365.txt": lines(*(f"{name} {n}" for n, name in every.items())),
        "places365_val.txt": lines(*(f"Places365_val_{n:08}.jpg {numbers[name]}" for n, name in enumerate(names, 1))),
        "places365_train_standard.txt": lines("/a/airfield/00000001.jpg 0"),
        "places365_test.txt": lines("Places365_test_00000001.jpg"),
    }
    return box.mini({"val_256.tar": tarred(box.take(), "w"),
                     "filelist_places365-standard.tar": tarred(lists, "w")})  # fmt: skip


# --- tables


def titanic() -> Mini:
    head = "survived,sex,age,n_siblings_spouses,parch,fare,class,deck,embark_town,alone"
    rows = ("0,male,22.0,1,0,7.25,Third,unknown,Southampton,n", "1,female,38.0,1,0,71.2833,First,C,Cherbourg,n")
    body = lines(head, *rows * 4)
    return Mini({"train.csv": body, "eval.csv": body}, refused='seems to be "survived", but')


def california_housing() -> Mini:
    rows = [(-122.23, 37.88, 41.0, 880.0, 129.0, 322.0, 126.0, 8.3252, 452600.0 - at) for at in range(6)]
    body = lines(*(",".join(f"{value:.6f}" for value in row) for row in rows))
    notes = b"longitude: continuous.\nlatitude: continuous.\n"
    files = {"CaliforniaHousing/cal_housing.data": body, "CaliforniaHousing/cal_housing.domain": notes}
    return Mini({"cal_housing.tgz": tarred(files)}, table={"train": [452600.0 - at for at in range(6)]})


def penguins() -> Mini:
    head = "species,island,culmen_length_mm,culmen_depth_mm,flipper_length_mm,body_mass_g,sex"
    rows = [f"{name},Torgersen,39.{n},18.7,181,375{n},MALE" for n in range(3) for name in ("Adelie", "Gentoo")]
    rows += ["Chinstrap,Dream,NA,NA,NA,NA,NA"]
    return Mini({"penguins_size.csv": lines(head, *rows)}, refused='seems to be "species", but')


def adult() -> Mini:
    row = "39, State-gov, 77516, Bachelors, 13, Divorced, Sales, Husband, White, Male, 2174, 0, {}, United-States, {}"
    train = [row.format(40 + n, "<=50K" if n % 2 else ">50K") for n in range(6)]
    test = ["|1x3 Cross validator", *(row.format(30 + n, "<=50K." if n % 2 else ">50K.") for n in range(4))]
    refused = 'seems to be "column 15", but'
    return Mini({"adult.data": lines(*train, ""), "adult.test": lines(*test, "")}, refused=refused)


def wine_quality() -> Mini:
    head = '"fixed acidity";"volatile acidity";"citric acid";"residual sugar";"chlorides";"alcohol";"quality"'
    red = lines(head, *(f"7.{n};0.7;0;1.9;0.076;9.4;{5 + n % 2}" for n in range(6)))
    white = lines(head, *(f"6.{n};0.2;0.3;20.7;0.045;8.8;{6 + n % 2}" for n in range(6)))
    return Mini({"winequality-red.csv": red, "winequality-white.csv": white}, table={"train": [2, 3] * 3 + [3, 4] * 3})


def of_package(n: int, width: int, names: str, labels: list[int]) -> bytes:
    """Make a table as scikit-learn keeps it: counts and class names first, the label last."""
    return lines(f"{n},{width},{names}", *(f"{','.join(f'{1.5 + n + at}' for at in range(width))},{label}"
                                           for n, label in enumerate(labels)))  # fmt: skip


def wine() -> Mini:
    labels = [0, 0, 1, 1, 2, 2]
    return Mini({"wine_data.csv": of_package(6, 13, "class_0,class_1,class_2", labels)}, table={"train": labels})


def breast_cancer() -> Mini:
    labels = [0, 1, 1, 0, 1, 1]
    return Mini({"breast_cancer.csv": of_package(6, 30, "malignant,benign", labels)}, table={"train": labels})


def diabetes() -> Mini:
    rows = lines(*(" ".join(f"{30.5 + n + at:g}" for at in range(10)) for n in range(6)))
    target = lines(*(f"{151 + n:.18e}" for n in range(6)))
    parts = {"diabetes_data_raw.csv.gz": gzip.compress(rows), "diabetes_target.csv.gz": gzip.compress(target)}
    return Mini(parts, table={"train": [151.0 + n for n in range(6)]})


def covtype() -> Mini:
    rows = [",".join(map(str, [2596 + n, 51, 3, *([0, 1] * 25), 1 + n % 3])) for n in range(9)]
    return Mini({"covtype.data.gz": gzip.compress(lines(*rows))}, table={"train": [n % 3 for n in range(9)]})


# --- what is staged whole


def imdb() -> Mini:
    files = {
        f"aclImdb/{part}/{kind}/{n}_{8 if kind == 'pos' else 2}.txt": b"A film."
        for part in ("train", "test")
        for kind in ("pos", "neg")
        for n in range(3)
    }
    files |= {"aclImdb/train/unsup/0_0.txt": b"A film.", "aclImdb/imdb.vocab": b"the\n", "aclImdb/README": b"Reviews\n"}
    return Mini({"aclImdb_v1.tar.gz": tarred(files)}, refused="text")


def ag_news() -> Mini:
    rows = [f'"{1 + n % 4}","Title {n} of the day","A story of some length, number {n}, of the day."' for n in range(8)]
    return Mini({"train.csv": lines(*rows), "test.csv": lines(*rows[:4])}, refused="words")


def wikitext(file: str, folder: str, suffix: str) -> Mini:
    files = {f"{folder}/wiki.{part}.{suffix}": b" = A page = \n Some text . \n" for part in ("train", "valid", "test")}
    return Mini({file: zipped(files)}, refused="text")


def tiny_shakespeare() -> Mini:
    return Mini({"input.txt": b"First Citizen:\nBefore we proceed any further, hear me speak.\n"}, refused="text")


def newsgroups20() -> Mini:
    files = {
        f"20news-bydate-{part}/{group}/{n}": b"From: a@b\n\nText\n"
        for part in ("train", "test")
        for group in ("sci.space", "alt.atheism")
        for n in range(3)
    }
    return Mini({"20news-bydate.tar.gz": tarred(files)}, refused="12 other files")


def movielens(file: str) -> Mini:
    top = file.removesuffix(".zip")
    if top == "ml-100k":
        files = {"u.data": lines("196\t242\t3\t881250949", "186\t302\t3\t891717742"), "u.item": b"1|Toy Story|\n",
                 "u.user": b"1|24|M|student|85711\n", "README": b"Terms\n"}  # fmt: skip
    elif top == "ml-1m":
        files = {"ratings.dat": lines("1::1193::5::978300760", "1::661::3::978302109"), "README": b"Terms\n",
                 "movies.dat": b"1::Toy Story (1995)::Animation\n", "users.dat": b"1::F::1::10::48067\n"}  # fmt: skip
    else:
        files = {"ratings.csv": lines("userId,movieId,rating,timestamp", "1,1,4.0,964982703", "1,3,4.0,964981247"),
                 "movies.csv": lines("movieId,title,genres", "1,Toy Story (1995),Adventure|Animation"),
                 "tags.csv": lines("userId,movieId,tag,timestamp", "2,60756,funny,1445714994"),
                 "links.csv": lines("movieId,imdbId,tmdbId", "1,0114709,862"), "README.txt": b"Terms\n"}  # fmt: skip
    return Mini(
        {file: zipped({f"{top}/{name}": body for name, body in files.items()})}, refused="is for recommendation"
    )


def speech_commands() -> Mini:
    words = {"yes": 3, "no": 3, "_background_noise_": 1}
    files = {f"./{word}/{n}_nohash_0.wav": b"RIFF0000WAVE" for word, many in words.items() for n in range(many)}
    files |= {"./testing_list.txt": lines("yes/2_nohash_0.wav"), "./validation_list.txt": lines("no/2_nohash_0.wav")}
    return Mini({"speech_commands_v0.02.tar.gz": tarred({**files, "./LICENSE": b"CC BY 4.0\n"})}, refused="wav")


def gtzan() -> Mini:
    files = {f"genres/{genre}/{genre}.0000{n}.au": b".snd" for genre in ("blues", "rock") for n in range(3)}
    return Mini({"genres.tar.gz": tarred(files)}, refused=".au files")


def yesno() -> Mini:
    files = {f"waves_yesno/{a}_1_0_1_1_0_0_{b}.wav": b"RIFF0000WAVE" for a in (0, 1) for b in (0, 1)}
    return Mini({"waves_yesno.tar.gz": tarred({**files, "waves_yesno/README": b"Yes and no\n"})}, refused="wav")


def librispeech_dev_clean() -> Mini:
    files = {f"LibriSpeech/dev-clean/84/121123/84-121123-000{n}.flac": b"fLaC" for n in range(3)}
    files |= {
        "LibriSpeech/dev-clean/84/121123/84-121123.trans.txt": lines("84-121123-0000 GO"),
        "LibriSpeech/README.TXT": b"x",
    }
    return Mini({"dev-clean.tar.gz": tarred(files)}, refused="flac")


def voc(year: str, files: dict[str, str]) -> Mini:
    box, parts = Box("a"), {}
    for file, part in files.items():
        top = f"VOCdevkit/VOC{year}"
        for n in range(2):
            box.photo(f"{top}/JPEGImages/{year}_{part}{n}.jpg", "a", None)
            box.files[f"{top}/Annotations/{year}_{part}{n}.xml"] = b"<annotation/>"
        box.photo(f"{top}/SegmentationClass/{year}_{part}0.png", "a", None)
        box.files[f"{top}/ImageSets/Main/{part}.txt"] = lines(f"{year}_{part}0", f"{year}_{part}1")
        parts[file] = tarred(box.take(), "w")
    return Mini(parts, refused="detection")


def coco_val2017() -> Mini:
    box = Box("a")
    for n in range(3):
        box.photo(f"val2017/00000000000{n}.jpg", "a", None)
    notes = {f"annotations/{name}_val2017.json": b'{"images": [], "annotations": []}' for name in
             ("instances", "captions", "person_keypoints")}  # fmt: skip
    return Mini({"val2017.zip": zipped(box.take()), "annotations_trainval2017.zip": zipped(notes)}, refused="detection")


def coco128() -> Mini:
    box = Box("a")
    for n in range(3):
        box.photo(f"coco128/images/train2017/00000000000{n}.jpg", "a", None)
        box.files[f"coco128/labels/train2017/00000000000{n}.txt"] = b"45 0.47 0.69 0.95 0.59\n"
    return Mini(
        {"coco128.zip": zipped({**box.take(), "coco128/README.txt": b"x", "coco128/LICENSE": b"x"})},
        refused="detection",
    )


def penn_fudan() -> Mini:
    box = Box("a")
    for n in range(3):
        box.photo(f"PennFudanPed/PNGImages/FudanPed0000{n}.png", "a", None)
        box.photo(f"PennFudanPed/PedMasks/FudanPed0000{n}_mask.png", "a", None)
        box.files[f"PennFudanPed/Annotation/FudanPed0000{n}.txt"] = b"# Compatible\n"
    return Mini({"PennFudanPed.zip": zipped({**box.take(), "PennFudanPed/readme.txt": b"x"})}, refused="segmentation")


_NETTE = {"tench": "n01440764", "church": "n03028079", "parachute": "n03888257"}
_WOOF = {"Shih-Tzu": "n02086240", "beagle": "n02088364", "dingo": "n02115641"}
_MED: dict[str, tuple[tuple[str, ...], int]] = {
    "pathmnist": (("adipose", "background"), 3), "dermamnist":
    (("actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma"), 3),
    "octmnist": (("choroidal neovascularization", "diabetic macular edema"), 1),
    "pneumoniamnist": (("normal", "pneumonia"), 1), "retinamnist": (("0", "1"), 3),
    "breastmnist": (("malignant", "normal, benign"), 1), "bloodmnist": (("basophil", "eosinophil"), 3),
    "tissuemnist": (("Collecting Duct/Connecting Tubule", "Distal Convoluted Tubule"), 1),
    "organamnist": (("bladder", "femur-left"), 1), "organcmnist": (("bladder", "femur-left"), 1),
    "organsmnist": (("bladder", "femur-left"), 1),
}  # fmt: skip

MINIATURES: dict[str, Callable[[], Mini]] = {
    "kmnist": kmnist,
    "emnist": emnist,
    "qmnist": qmnist,
    "svhn": svhn,
    "stl10": stl10,
    "usps": usps,
    "pcam": pcam,
    **{name: (lambda name=name, facts=facts: medmnist(name, *facts)) for name, facts in _MED.items()},
    "chestmnist": chestmnist,
    "imagenette": lambda: fastai("imagenette2", _NETTE),
    "imagenette_320": lambda: fastai("imagenette2-320", _NETTE),
    "imagenette_160": lambda: fastai("imagenette2-160", _NETTE),
    "imagewoof": lambda: fastai("imagewoof2", _WOOF),
    "imagewoof_320": lambda: fastai("imagewoof2-320", _WOOF),
    "imagewoof_160": lambda: fastai("imagewoof2-160", _WOOF),
    "flower_photos": lambda: in_folders(
        "flower_photos.tgz",
        {"train": "flower_photos/{0}/1"},
        {name: name for name in ("daisy", "dandelion", "roses", "sunflowers", "tulips")},
        flower_photos__LICENSE=b"CC BY\n",
    ),
    "cats_vs_dogs_filtered": lambda: in_folders(
        "cats_and_dogs_filtered.zip",
        {"train": "cats_and_dogs_filtered/train/{0}/t", "val": "cats_and_dogs_filtered/validation/{0}/v"},
        {"cats": "cats", "dogs": "dogs"},
        cats_and_dogs_filtered__vectorize=b"# code\n",
    ),
    "cats_vs_dogs": cats_vs_dogs,
    "dogs_vs_cats_redux": dogs_vs_cats_redux,
    "horse_or_human": lambda: without_top(
        ("horses", "humans"),
        {"horse-or-human.zip": ("train", ""), "validation-horse-or-human.zip": ("val", "")},
    ),
    "rock_paper_scissors": lambda: without_top(
        ("paper", "rock", "scissors"), {"rps.zip": ("train", "rps/"), "rps-test-set.zip": ("test", "rps-test-set/")}
    ),
    "hymenoptera": lambda: in_folders(
        "hymenoptera_data.zip",
        {"train": "hymenoptera_data/train/{0}/t", "val": "hymenoptera_data/val/{0}/v"},
        {"ants": "ants", "bees": "bees"},
    ),
    "beans": lambda: without_top(
        ("angular_leaf_spot", "bean_rust", "healthy"),
        {"train.zip": ("train", "train/"), "validation.zip": ("val", "validation/"), "test.zip": ("test", "test/")},
        "jpg",
    ),
    "flowers102": flowers102,
    "oxford_iiit_pet": oxford_iiit_pet,
    "food101": food101,
    "caltech101": caltech101,
    "caltech256": caltech256,
    "dtd": dtd,
    "eurosat": lambda: in_folders(
        "EuroSAT.zip",
        {"train": "2750/{0}/x"},
        {name: name for name in ("AnnualCrop", "Forest", "SeaLake")},
    ),
    "gtsrb": gtsrb,
    "tiny_imagenet": tiny_imagenet,
    "celeba": celeba,
    "lfw": lfw,
    "malaria": malaria,
    "fgvc_aircraft": fgvc_aircraft,
    "country211": lambda: clip("country211", ("AD", "AE", "ZW"), "jpg"),
    "rendered_sst2": lambda: clip("rendered-sst2", ("negative", "positive"), "png"),
    "sun397": sun397,
    "places365_val": places365_val,
    "titanic": titanic,
    "california_housing": california_housing,
    "penguins": penguins,
    "adult": adult,
    "wine_quality": wine_quality,
    "wine": wine,
    "breast_cancer": breast_cancer,
    "diabetes": diabetes,
    "covtype": covtype,
    "imdb": imdb,
    "ag_news": ag_news,
    "wikitext2": lambda: wikitext("wikitext-2-raw-v1.zip", "wikitext-2-raw", "raw"),
    "wikitext2_tokens": lambda: wikitext("wikitext-2-v1.zip", "wikitext-2", "tokens"),
    "wikitext103": lambda: wikitext("wikitext-103-v1.zip", "wikitext-103", "tokens"),
    "tiny_shakespeare": tiny_shakespeare,
    "newsgroups20": newsgroups20,
    "movielens_small": lambda: movielens("ml-latest-small.zip"),
    "movielens_100k": lambda: movielens("ml-100k.zip"),
    "movielens_1m": lambda: movielens("ml-1m.zip"),
    "movielens_20m": lambda: movielens("ml-20m.zip"),
    "speech_commands": speech_commands,
    "gtzan": gtzan,
    "yesno": yesno,
    "librispeech_dev_clean": librispeech_dev_clean,
    "voc2012": lambda: voc("2012", {"VOCtrainval_11-May-2012.tar": "trainval"}),
    "voc2007": lambda: voc("2007", {"VOCtrainval_06-Nov-2007.tar": "trainval", "VOCtest_06-Nov-2007.tar": "test"}),
    "coco_val2017": coco_val2017,
    "coco128": coco128,
    "penn_fudan": penn_fudan,
}
"""How to make the miniature of each entry that is a few files; the others have files of one size and one digest."""
