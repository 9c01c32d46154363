"""Sets of small pictures in arrays: idx, npz, mat and binary files, told by their digests, and how these are read.

Sizes and digests: torchvision 0.29 (md5), tensorflow-datasets 4.9.10 (sha256), medmnist 3.0.2 (md5).
"""

from __future__ import annotations

from pathlib import Path

from datastage.datasets.idx import matlab, read_idx
from datastage.entry import ArchiveEntry, Arrays, Lookalike, Part
from datastage.errors import IntegrityError, needing

_SVHN = "http://ufldl.stanford.edu/housenumbers"
_KMNIST = "http://codh.rois.ac.jp/kmnist/dataset/kmnist"
_QMNIST = "https://raw.githubusercontent.com/facebookresearch/qmnist/master"
_USPS = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass"
_PCAM = "https://zenodo.org/record/2546921/files/camelyonpatch_level_2_split_"
_DIGITS = tuple("0123456789")


def _qmnist(path: Path, split: str) -> Arrays:
    start = path / "QMNIST/raw" / f"qmnist-{split}"
    rows = read_idx(start.with_name(start.name + "-labels-idx2-int"))  # the class, then who wrote it and where
    return read_idx(start.with_name(start.name + "-images-idx3-ubyte")), rows[:, 0]


def _emnist(path: Path, split: str) -> Arrays:
    start = f"emnist-balanced-{split}-"  # the parting that most papers use, of the six that are there
    images = read_idx(path / f"{start}images-idx3-ubyte").transpose(0, 2, 1)  # they lie on their side
    return images, read_idx(path / f"{start}labels-idx1-ubyte")


def _svhn(path: Path, split: str) -> Arrays:
    found = matlab(path / f"{split}_32x32.mat")
    return found["X"].transpose(3, 0, 1, 2), found["y"].reshape(-1) % 10  # the digit 0 is labelled 10


def _stl10(path: Path, split: str) -> Arrays:
    import numpy as np

    pixels = np.fromfile(path / f"{split}_X.bin", np.uint8).reshape(-1, 3, 96, 96)
    # Planes of columns; labels count from 1.
    return pixels.transpose(0, 3, 2, 1), np.fromfile(path / f"{split}_y.bin", np.uint8) - 1


def _usps(path: Path, split: str) -> Arrays:
    import numpy as np

    file = path / ("usps" if split == "train" else "usps.t")
    rows = [line.split() for line in file.read_text("ascii").splitlines() if line.strip()]
    if any(len(row) != 257 for row in rows):
        raise IntegrityError(f"{file.name} has a row of other than 256 values.", "Next: stage it with refresh=True.")
    values = np.array([[cell.rpartition(":")[2] for cell in row[1:]] for row in rows], np.float32)
    pixels = ((values + 1) * 127.5).round().astype(np.uint8).reshape(-1, 16, 16)
    return pixels, np.array([int(float(row[0])) - 1 for row in rows])


def _pcam(path: Path, split: str) -> Arrays:
    with needing("PatchCamelyon", "h5py"):
        import h5py
    start = f"camelyonpatch_level_2_split_{'valid' if split == 'val' else split}_"
    with h5py.File(path / f"{start}x.h5", "r") as images, h5py.File(path / f"{start}y.h5", "r") as labels:
        return images["x"][()], labels["y"][()].reshape(-1)


KMNIST = ArchiveEntry(
    "kmnist", "Kuzushiji-MNIST", (f"{_KMNIST}/train-images-idx3-ubyte.gz",),
    "md5:bdb82020997e1d708af4cf47b453dcf7", 18165135, into="KMNIST/raw",
    more=tuple(
        Part(f"{name}.gz", (f"{_KMNIST}/{name}.gz",), f"md5:{md5}", size, "KMNIST/raw")
        for name, md5, size in (
            ("train-labels-idx1-ubyte", "e144d726b3acfaa3e44228e80efcd344", 29497),
            ("t10k-images-idx3-ubyte", "5c965bf0a639b31b8f53240b1b52f4d7", 3041136),
            ("t10k-labels-idx1-ubyte", "7320c461ea6c1c855c0b718fb2a4b134", 5120),
        )
    ),
    licence="CC BY-SA 4.0", citation="Clanuwat et al., arXiv 1812.01718, 2018", homepage="http://codh.rois.ac.jp/kmnist/",
    splits={"train": 60000, "test": 10000}, mean=(0.1918,), std=(0.3483,),
    classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
)  # fmt: skip
EMNIST = ArchiveEntry(
    "emnist", "EMNIST", ("https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",),
    "md5:58c8d27c78d21e728a6bc7b3cc06412e", 561753746,
    citation="Cohen, Afshar, Tapson, van Schaik, EMNIST, 2017", nested=True,
    splits={"train": 112800, "test": 18800}, read=_emnist,
    classes=(*_DIGITS, *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", *"abdefghnqrt"),
    homepage="https://www.nist.gov/itl/products-and-services/emnist-dataset", mean=(0.1751,), std=(0.3332,),
)  # fmt: skip
QMNIST = ArchiveEntry(
    "qmnist", "QMNIST", (f"{_QMNIST}/qmnist-train-images-idx3-ubyte.gz",), "md5:ed72d4157d28c017586c42bc6afe6370", None,
    into="QMNIST/raw",
    more=tuple(
        Part(f"{name}.gz", (f"{_QMNIST}/{name}.gz",), f"md5:{md5}", None, "QMNIST/raw")
        for name, md5 in (
            ("qmnist-train-labels-idx2-int", "0058f8dd561b90ffdd0f734c6a30e5e4"),
            ("qmnist-test-images-idx3-ubyte", "1394631089c404de565df7b7aeaf9412"),
            ("qmnist-test-labels-idx2-int", "5b5b05890a5e13444e108efe57b788aa"),
        )
    ),
    licence="BSD-3-Clause", citation="Yadav, Bottou, Cold Case: the Lost MNIST Digits, 2019",
    homepage="https://github.com/facebookresearch/qmnist", splits={"train": 60000, "test": 60000},
    read=_qmnist, classes=_DIGITS, mean=(0.1307,), std=(0.3081,),
)  # fmt: skip
SVHN = ArchiveEntry(
    "svhn", "SVHN, cropped digits", (f"{_SVHN}/train_32x32.mat",), "md5:e26dedcc434d2e4c54c9b2d4a06d8373", 182040794,
    more=(Part("test_32x32.mat", (f"{_SVHN}/test_32x32.mat",), "md5:eb5a983be6a315427106f1b164d9cef3", 64275384),),
    licence="non-commercial use", citation="Netzer et al., 2011", homepage=f"{_SVHN}/",
    splits={"train": 73257, "test": 26032}, mean=(0.4377, 0.4438, 0.4728), std=(0.1980, 0.2010, 0.1970),
    search_words="svhn train_32x32.mat", read=_svhn, classes=_DIGITS,
)  # fmt: skip
STL10 = ArchiveEntry(
    "stl10", "STL-10", ("http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",),
    "md5:91f7769df0f17e558f3565bffb0c7dfb", 2640397119, citation="Coates, Lee, Ng, AISTATS 2011",
    homepage="https://cs.stanford.edu/~acoates/stl10/", splits={"train": 5000, "test": 8000},
    mean=(0.4467, 0.4398, 0.4066), std=(0.2603, 0.2566, 0.2713),
    read=_stl10, classes=("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
    lookalikes=(Lookalike("the pictures as PNG files", "stl10_binary.tar.gz", names=("*/train_images/*.png",)),),
)  # fmt: skip
USPS = ArchiveEntry(
    "usps", "USPS digits", (f"{_USPS}/usps.bz2",), "md5:ec16c51db3855ca6c91edd34d0e9b197", 6579383,
    more=(Part("usps.t.bz2", (f"{_USPS}/usps.t.bz2",), "md5:8ea070ee2aca1ac39742fdd1ef5ed118", 1831726),),
    citation="J. J. Hull, PAMI 1994", splits={"train": 7291, "test": 2007}, mean=(0.2469,), std=(0.2989,),
    read=_usps, classes=_DIGITS,
)  # fmt: skip
PCAM = ArchiveEntry(
    "pcam", "PatchCamelyon", (f"{_PCAM}train_x.h5.gz",),
    "sha256:d619e741468a7ab35c7e4a75e6821b7e7e6c9411705d45708f2a0efc8960656c", 6421353462,
    more=tuple(
        Part(f"camelyonpatch_level_2_split_{name}.h5.gz", (f"{_PCAM}{name}.h5.gz",), f"sha256:{sha256}", size)
        for name, sha256, size in (
            ("train_y", "b74126d2c01b20d3661f9b46765d29cf4e4fba6faba29c8e0d09d406331ab75a", 21378),
            ("valid_x", "f82ee1670d027b4ec388048d9eabc2186b77c009655dae76d624c0ecb053ccb2", 805965320),
            ("valid_y", "ce1ae30f08feb468447971cfd0472e7becd0ad96d877c64120c72571439ae48c", 3038),
            ("test_x", "79174c2201ad521602a5888be8f36ee10875f37403dd3f2086caf2182ef87245", 800875929),
            ("test_y", "0a522005fccc8bbd04c5a117bfaf81d8da2676f03a29d7499f71d0a0bd6068ef", 3040),
        )
    ),
    licence="CC0", citation="Veeling et al., MICCAI 2018", homepage="https://github.com/basveeling/pcam",
    splits={"train": 262144, "val": 32768, "test": 32768}, read=_pcam, classes=("normal", "tumor"),
)  # fmt: skip

_ORGANS = ("bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right", "liver", "lung-left",
           "lung-right", "pancreas", "spleen")  # fmt: skip
# name, md5 of the 28-pixel file, size where it is known, samples of train, val and test, classes
_MEDMNIST: tuple[tuple[str, str, int | None, tuple[int, int, int], tuple[str, ...]], ...] = (
    ("pathmnist", "a8b06965200029087d5bd730944a56c1", 205615438, (89996, 10004, 7180),
     ("adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa",
      "cancer-associated stroma", "colorectal adenocarcinoma epithelium")),
    ("chestmnist", "02c8a6516a18b556561a56cbdd36c4a8", None, (78468, 11219, 22433),
     ("atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax",
      "consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia")),
    ("dermamnist", "0744692d530f8e62ec473284d019b0c7", None, (7007, 1003, 2005),
     ("actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma", "benign keratosis-like lesions",
      "dermatofibroma", "melanoma", "melanocytic nevi", "vascular lesions")),
    ("octmnist", "c68d92d5b585d8d81f7112f81e2d0842", None, (97477, 10832, 1000),
     ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal")),
    ("pneumoniamnist", "28209eda62fecd6e6a2d98b1501bb15f", 4170669, (4708, 524, 624), ("normal", "pneumonia")),
    ("retinamnist", "bd4c0672f1bba3e3a89f0e4e876791e4", None, (1080, 120, 400), ("0", "1", "2", "3", "4")),
    ("breastmnist", "750601b1f35ba3300ea97c75c52ff8f6", None, (546, 78, 156), ("malignant", "normal, benign")),
    ("bloodmnist", "7053d0359d879ad8a5505303e11de1dc", None, (11959, 1712, 3421),
     ("basophil", "eosinophil", "erythroblast", "immature granulocytes", "lymphocyte", "monocyte", "neutrophil",
      "platelet")),
    ("tissuemnist", "ebe78ee8b05294063de985d821c1c34b", None, (165466, 23640, 47280),
     ("Collecting Duct/Connecting Tubule", "Distal Convoluted Tubule", "Glomerular endothelial cells",
      "Interstitial endothelial cells", "Leukocytes", "Podocytes", "Proximal Tubule Segments", "Thick Ascending Limb")),
    ("organamnist", "68e3f8846a6bd62f0c9bf841c0d9eacc", None, (34561, 6491, 17778), _ORGANS),
    ("organcmnist", "b9ceb9546e10131b32923c5bbeaea2b1", None, (12975, 2392, 8216), _ORGANS),
    ("organsmnist", "9ab87b696fb54e2a387ebe992d6ed5f1", None, (13932, 2452, 8827), _ORGANS),
)  # fmt: skip
MEDMNIST = tuple(
    ArchiveEntry(
        name, f"MedMNIST, {name}", (f"https://zenodo.org/records/10519652/files/{name}.npz?download=1",), f"md5:{md5}",
        size, task="multi-label" if name == "chestmnist" else "classification", classes=classes,
        licence="CC BY-NC 4.0" if name == "dermamnist" else "CC BY 4.0",
        citation="Yang et al., MedMNIST v2, Scientific Data 2023", homepage="https://medmnist.com/",
        splits=dict(zip(("train", "val", "test"), n, strict=True)),
    )
    for name, md5, size, n, classes in _MEDMNIST
)  # fmt: skip

ENTRIES = (KMNIST, EMNIST, QMNIST, SVHN, STL10, USPS, PCAM, *MEDMNIST)
