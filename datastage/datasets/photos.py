"""Archives of pictures: one to a few files each, told by their digests; and the publishers' own lists of labels.

Where folders or plain tables tell the labels, `layouts` reads them. Sizes and digests: torchvision 0.29 (md5),
tensorflow-datasets 4.9.10 (sha256), fastai 2.8 (sizes of imagewoof).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datastage.datasets.idx import matlab
from datastage.entry import ArchiveEntry, Lookalike, Part

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
_VGG = "https://www.robots.ox.ac.uk/~vgg/data"
_TF = "https://storage.googleapis.com/download.tensorflow.org"
_FASTAI = ("https://s3.amazonaws.com/fast-ai-imageclas/", "https://fast-ai-imageclas.s3.amazonaws.com/")
_GTSRB = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370"
_WNIDS = {
    "n01440764": "tench", "n02102040": "English springer", "n02979186": "cassette player", "n03000684": "chain saw",
    "n03028079": "church", "n03394916": "French horn", "n03417042": "garbage truck", "n03425413": "gas pump",
    "n03445777": "golf ball", "n03888257": "parachute", "n02086240": "Shih-Tzu", "n02087394": "Rhodesian ridgeback",
    "n02088364": "beagle", "n02089973": "English foxhound", "n02093754": "Border terrier",
    "n02096294": "Australian terrier", "n02099601": "golden retriever", "n02105641": "Old English sheepdog",
    "n02111889": "Samoyed", "n02115641": "dingo",
}  # fmt: skip
_FLOWERS = (
    "pink primrose", "hard-leaved pocket orchid", "canterbury bells", "sweet pea", "english marigold", "tiger lily",
    "moon orchid", "bird of paradise", "monkshood", "globe thistle", "snapdragon", "colt's foot", "king protea",
    "spear thistle", "yellow iris", "globe-flower", "purple coneflower", "peruvian lily", "balloon flower",
    "giant white arum lily", "fire lily", "pincushion flower", "fritillary", "red ginger", "grape hyacinth",
    "corn poppy", "prince of wales feathers", "stemless gentian", "artichoke", "sweet william", "carnation",
    "garden phlox", "love in the mist", "mexican aster", "alpine sea holly", "ruby-lipped cattleya", "cape flower",
    "great masterwort", "siam tulip", "lenten rose", "barbeton daisy", "daffodil", "sword lily", "poinsettia",
    "bolero deep blue", "wallflower", "marigold", "buttercup", "oxeye daisy", "common dandelion", "petunia",
    "wild pansy", "primula", "sunflower", "pelargonium", "bishop of llandaff", "gaura", "geranium", "orange dahlia",
    "pink-yellow dahlia", "cautleya spicata", "japanese anemone", "black-eyed susan", "silverbush",
    "californian poppy", "osteospermum", "spring crocus", "bearded iris", "windflower", "tree poppy", "gazania",
    "azalea", "water lily", "rose", "thorn apple", "morning glory", "passion flower", "lotus", "toad lily",
    "anthurium", "frangipani", "clematis", "hibiscus", "columbine", "desert-rose", "tree mallow", "magnolia",
    "cyclamen", "watercress", "canna lily", "hippeastrum", "bee balm", "ball moss", "foxglove", "bougainvillea",
    "camellia", "mallow", "mexican petunia", "bromelia", "blanket flower", "trumpet creeper", "blackberry lily",
)  # fmt: skip

# --- lists of labels: each gives the classes in their order and, for each part, pictures and labels
Listed = tuple[tuple[str, ...], dict[str, dict[str, Any]]]


def _pairs(path: Path, sign: str | None = None) -> list[tuple[str, str]]:
    """Return the two columns of a list, parted at the first `sign`; of a longer line the rest is one."""
    rows = (line.strip().split(sign, 1) for line in path.read_text("utf-8").splitlines())
    return [(row[0], row[1]) for row in rows if len(row) == 2 and not row[0].startswith("#")]


def _flowers102(path: Path) -> Listed:
    root = path / "flowers-102"
    ids, numbers = matlab(root / "setid.mat"), matlab(root / "imagelabels.mat")["labels"].reshape(-1)
    parts = {
        part: {f"flowers-102/jpg/image_{n:05}.jpg": _FLOWERS[numbers[n - 1] - 1] for n in ids[key].reshape(-1)}
        for part, key in (("train", "trnid"), ("val", "valid"), ("test", "tstid"))
    }
    return _FLOWERS, parts


def _pets(path: Path) -> Listed:
    parts = {}
    for part, name in (("train", "trainval"), ("test", "test")):
        rows = _pairs(path / f"oxford-iiit-pet/annotations/{name}.txt")
        parts[part] = {f"oxford-iiit-pet/images/{stem}.jpg": stem.rpartition("_")[0] for stem, _ in rows}
    return tuple(sorted(set(parts["train"].values()), key=str.casefold)), parts


def _textures(path: Path) -> Listed:
    """Take the first of ten partings, as torchvision does."""
    parts = {}
    for part in ("train", "val", "test"):
        rows = (path / f"dtd/labels/{part}1.txt").read_text("utf-8").split()
        parts[part] = {f"dtd/images/{row}": row.partition("/")[0] for row in rows}
    return tuple(sorted(set(parts["train"].values()))), parts


def _aircraft(path: Path) -> Listed:
    parts = {
        part: {f"data/images/{n}.jpg": variant for n, variant in _pairs(path / f"data/images_variant_{part}.txt")}
        for part in ("train", "val", "test")
    }
    return tuple((path / "data/variants.txt").read_text("utf-8").split("\n")[:-1]), parts


def _scenes(path: Path) -> Listed:
    """Take the folders below the one of the first letter for the class: ``apartment_building/outdoor``."""
    found = {file.relative_to(path).as_posix(): file.parent.relative_to(path) for file in path.rglob("*.jpg")}
    labels = {name: "/".join(folder.parts[1:]) for name, folder in sorted(found.items())}
    return tuple(sorted(set(labels.values()))), {"train": labels}


def _places(path: Path) -> Listed:
    names = [name for name, _ in _pairs(path / "categories_places365.txt")]
    rows = _pairs(path / "places365_val.txt")
    return tuple(names), {"train": {f"val_256/{file}": names[int(number)] for file, number in rows}}


def _faces(path: Path) -> Listed:
    _, head, *rows = (path / "celeba/list_attr_celeba.txt").read_text("utf-8").splitlines()
    attributes = {row.split()[0]: [float(int(cell) > 0) for cell in row.split()[1:]] for row in rows if row.strip()}
    parts: dict[str, dict[str, Any]] = {"train": {}, "val": {}, "test": {}}
    for file, number in _pairs(path / "celeba/list_eval_partition.txt"):
        parts[("train", "val", "test")[int(number)]][f"celeba/img_align_celeba/{file}"] = attributes[file]
    return tuple(head.split()), parts


def _objects(path: Path) -> Listed:
    """Leave the folder of pictures of no class out, as torchvision does."""
    found = {file.relative_to(path).as_posix(): file.parent.name for file in path.rglob("image_*.jpg")}
    labels = {name: label for name, label in sorted(found.items()) if label != "BACKGROUND_Google"}
    return tuple(sorted(set(labels.values()))), {"train": labels}


def _fastai(name: str, title: str, file: str, size: int, expect: str | None, n: tuple[int, int]) -> ArchiveEntry:
    return ArchiveEntry(
        name, title, tuple(host + file for host in _FASTAI), expect, size,
        licence="Apache-2.0 (the images: ImageNet's terms)", citation="J. Howard, imagenette",
        homepage="https://github.com/fastai/imagenette", splits={"train": n[0], "val": n[1]}, names=_WNIDS,
        lookalikes=(
            Lookalike(
                "the first imagenette, which is parted otherwise", f"{file}, the second one",
                names=("*/imagenette.tgz", "*/imagenette-320.tgz", "*/imagenette-160.tgz"),
                sizes=(1556495367, 341289752, 98752094),
            ),
        ),
        mean=_MEAN, std=_STD,
    )  # fmt: skip


IMAGENETTE = (
    _fastai("imagenette", "Imagenette", "imagenette2.tgz", 1557161267, "md5:fe2fc210e6bb7c5664d602c3cd71e612",
            (9469, 3925)),
    _fastai("imagenette_320", "Imagenette, 320 pixels", "imagenette2-320.tgz", 341663724,
            "md5:3df6f0d01a2c9592104656642f5e78a3", (9469, 3925)),
    _fastai("imagenette_160", "Imagenette, 160 pixels", "imagenette2-160.tgz", 99003388,
            "md5:e793b78cc4c9e9a4ccc0c1155377a412", (9469, 3925)),
    # No digest of the whole file was published for these three: size and content must do.
    _fastai("imagewoof", "Imagewoof", "imagewoof2.tgz", 1343715595, None, (9025, 3929)),
    _fastai("imagewoof_320", "Imagewoof, 320 pixels", "imagewoof2-320.tgz", 328387740, None, (9025, 3929)),
    _fastai("imagewoof_160", "Imagewoof, 160 pixels", "imagewoof2-160.tgz", 92612825, None, (9025, 3929)),
)  # fmt: skip

FLOWER_PHOTOS = ArchiveEntry(
    "flower_photos", "Flower photos of TensorFlow's tutorial",
    (f"{_TF}/example_images/flower_photos.tgz", "http://download.tensorflow.org/example_images/flower_photos.tgz"),
    "sha256:4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c", 228813984,
    licence="CC BY, photo by photo: LICENSE.txt", citation="The TensorFlow Team, Flowers, 2019",
    homepage="https://www.tensorflow.org/tutorials/load_data/images", splits={"train": 3670},
    classes=("daisy", "dandelion", "roses", "sunflowers", "tulips"), search_words="flower_photos",
    lookalikes=(
        Lookalike(
            "Flowers Recognition, another set of five flowers", "flower_photos.tgz: folders roses, sunflowers, tulips",
            names=("*/flowers/rose/*", "*/flowers/sunflower/*", "*/flowers/tulip/*"),
        ),
    ),
)  # fmt: skip
CATS_VS_DOGS = (
    ArchiveEntry(
        "cats_vs_dogs_filtered", "Cats and dogs, filtered",
        ("https://storage.googleapis.com/mledu-datasets/cats_and_dogs_filtered.zip",), None, 68606236,
        citation="Elson et al., Asirra, CCS 2007", splits={"train": 2000, "val": 1000}, classes=("cats", "dogs"),
    ),
    ArchiveEntry(
        "cats_vs_dogs", "Cats and dogs, as Microsoft publishes them",
        ("https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/"
         "kagglecatsanddogs_5340.zip",),
        "sha256:b7974bd00a84a99921f36ee4403f089853777b5ae8d151c76a86e64900334af9", 824887076,
        citation="Elson et al., Asirra, CCS 2007", homepage="https://www.microsoft.com/download/details.aspx?id=54765",
        splits={"train": 25000}, classes=("Cat", "Dog"), search_words="microsoft cats vs dogs",
    ),
    ArchiveEntry(
        "dogs_vs_cats_redux", "Dogs vs. Cats Redux, the competition",
        ("kaggle:competitions/dogs-vs-cats-redux-kernels-edition",), None, None,
        licence="the competition's rules, which must be accepted", mirror=False, nested=True,
        homepage="https://www.kaggle.com/c/dogs-vs-cats-redux-kernels-edition", splits={"train": 25000},
    ),
)  # fmt: skip
HORSE_OR_HUMAN = ArchiveEntry(
    "horse_or_human", "Horse or human", (f"{_TF}/data/horse-or-human.zip",),
    "sha256:e2e6f70d3d549c5dd10a57165e55af253ee66ad750403f95c0fb76bb943633a9", 149574867, into="train",
    more=(Part("validation-horse-or-human.zip", (f"{_TF}/data/validation-horse-or-human.zip",),
               "sha256:ae5fff2f4f5554791f05358108e2e05d9801b191f1896ea101402f0e7f6c32c0", 11480187, "val"),),
    licence="CC BY 2.0", citation="L. Moroney, 2019", splits={"train": 1027, "val": 256}, classes=("horses", "humans"),
)  # fmt: skip
ROCK_PAPER_SCISSORS = ArchiveEntry(
    "rock_paper_scissors", "Rock, paper, scissors", (f"{_TF}/data/rps.zip",),
    "sha256:c2403444395842ad04c53612bad54b574443eae17a0723117a2ff87b9d72194f", 200682221, into="train",
    more=(Part("rps-test-set.zip", (f"{_TF}/data/rps-test-set.zip",),
               "sha256:c27ab9fa43ce40b2e453de711365b477f4424586edf0388116674fd320f07503", 29516758, "test"),),
    licence="CC BY 2.0", citation="L. Moroney, 2019", classes=("paper", "rock", "scissors"),
)  # fmt: skip
HYMENOPTERA = ArchiveEntry(
    "hymenoptera", "Ants and bees of PyTorch's tutorial",
    ("https://download.pytorch.org/tutorial/hymenoptera_data.zip",),
    "sha256:fbc41b31d544714d18dd1230b1e2b455e1557766e13e67f9f5a7a23af7c02209", 47286322,
    homepage="https://pytorch.org/tutorials/beginner/transfer_learning_tutorial.html",
    splits={"train": 244, "val": 153}, classes=("ants", "bees"), mean=_MEAN, std=_STD,
)  # fmt: skip
BEANS = ArchiveEntry(
    "beans", "Leaves of beans", ("https://storage.googleapis.com/ibeans/train.zip",),
    "sha256:284fe8456ce20687f4367ae7ad94a64577e7f9fde2c2c6b1c74340ab5dc82715", 143812152,
    more=tuple(
        Part(f"{name}.zip", (f"https://storage.googleapis.com/ibeans/{name}.zip",), expect, size)
        for name, expect, size in (
            ("validation", "sha256:90b7aa1c26d91d9afff07a30bbc67a5ea34f1f1397f068d8675be09d7d0c602d", 18504213),
            ("test", "sha256:ca67b15d960d1e2fd9d23fd8498ce86818ead90755c630a43baf19ec4af09312", 17708541),
        )
    ),
    licence="MIT", homepage="https://github.com/AI-Lab-Makerere/ibean",
)  # fmt: skip

FLOWERS102 = ArchiveEntry(
    "flowers102", "Oxford 102 Flowers", (f"{_VGG}/flowers/102/102flowers.tgz",),
    "md5:52808999861908f626f3c1f4e79d11fa", 344862509, into="flowers-102",
    more=(
        Part("imagelabels.mat", (f"{_VGG}/flowers/102/imagelabels.mat",), "md5:e0620be6f572b9609742df49c70aed4d", 502,
             "flowers-102"),
        Part("setid.mat", (f"{_VGG}/flowers/102/setid.mat",), "md5:a5357ecc9cb78c4bef273ce3793fc85c", 14989,
             "flowers-102"),
    ),
    citation="Nilsback, Zisserman, ICVGIP 2008", homepage=f"{_VGG}/flowers/102/",
    splits={"train": 1020, "val": 1020, "test": 6149}, lists=_flowers102,
    mean=(0.4330, 0.3819, 0.2964), std=(0.2588, 0.2179, 0.2402),
    lookalikes=(
        Lookalike("the form of a Udacity course, which is parted otherwise", "102flowers.tgz with its two .mat files",
                  names=("*/train/102/*", "*/valid/102/*")),
    ),
)  # fmt: skip
PETS = ArchiveEntry(
    "oxford_iiit_pet", "Oxford-IIIT Pet",
    (f"{_VGG}/pets/data/images.tar.gz", "https://thor.robots.ox.ac.uk/~vgg/data/pets/images.tar.gz"),
    "md5:5c4f3ee8e5d25df40f4fd59a7f44e54c", 791918971, into="oxford-iiit-pet",
    more=(
        Part("annotations.tar.gz",
             (f"{_VGG}/pets/data/annotations.tar.gz", "https://thor.robots.ox.ac.uk/~vgg/data/pets/annotations.tar.gz"),
             "md5:95a8c909bbe2e81eed6a22bccdf3f68f", 19173078, "oxford-iiit-pet"),
    ),
    licence="CC BY-SA 4.0", citation="Parkhi, Vedaldi, Zisserman, Jawahar, CVPR 2012",
    homepage="https://www.robots.ox.ac.uk/~vgg/data/pets/", splits={"train": 3680, "test": 3669},
    lists=_pets,
)  # fmt: skip
FOOD101 = ArchiveEntry(
    "food101", "Food-101", ("http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",),
    "md5:85eeb15f3717b99a5da872d97d918f87", 4996278331, licence="scientific fair use, see its licence file",
    citation="Bossard, Guillaumin, Van Gool, ECCV 2014", homepage="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
    splits={"train": 75750, "test": 25250},
)  # fmt: skip
CALTECH = (
    ArchiveEntry(
        "caltech101", "Caltech-101", ("https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",),
        "md5:3138e1922a9193bfa496528edbbc45d0", 137414764, nested=True, licence="CC BY 4.0",
        lists=_objects, splits={"train": 8677},
        citation="Fei-Fei, Fergus, Perona, CVPR 2004 Workshop", homepage="https://data.caltech.edu/records/mzrjq-6wc02",
        lookalikes=(Lookalike("the older archive, caltech_101.tgz", "caltech-101.zip", sizes=(131740031,)),),
    ),
    ArchiveEntry(
        "caltech256", "Caltech-256", ("https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar",),
        "md5:67b4f42ca05d46448c6bb8ecd2220f6d", 1183006720, licence="CC BY 4.0",
        citation="Griffin, Holub, Perona, 2007", homepage="https://data.caltech.edu/records/nyy15-4j048",
        splits={"train": 30607},
    ),
)  # fmt: skip
DTD = ArchiveEntry(
    "dtd", "Describable Textures", (f"{_VGG}/dtd/download/dtd-r1.0.1.tar.gz",), "md5:fff73e5086ae6bdbea199a49dfb8a4c1",
    625239812, licence="research only", citation="Cimpoi et al., CVPR 2014", homepage=f"{_VGG}/dtd/", lists=_textures,
    splits={"train": 1880, "val": 1880, "test": 1880},
)  # fmt: skip
EUROSAT = ArchiveEntry(
    "eurosat", "EuroSAT, RGB",
    ("https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
     "https://madm.dfki.de/files/sentinel/EuroSAT.zip"),
    "md5:c8fa014336c82ac7804f0398fcb19387", 94280567, licence="MIT", citation="Helber et al., arXiv 1709.00029",
    homepage="https://github.com/phelber/EuroSAT", splits={"train": 27000},
    mean=(0.3444, 0.3803, 0.4078), std=(0.2037, 0.1366, 0.1148),
    lookalikes=(Lookalike("EuroSAT packed anew, EuroSAT_RGB.zip", "EuroSAT.zip, whose folder is called 2750",
                          names=("*/EuroSAT_RGB.zip", "*/EuroSAT_RGB/*")),),
)  # fmt: skip
GTSRB = ArchiveEntry(
    "gtsrb", "German traffic signs", (f"{_GTSRB}/GTSRB-Training_fixed.zip",), "md5:513f3c79a4c5141765e10e952eaa2478",
    187490228,
    more=(
        Part("GTSRB_Final_Test_Images.zip", (f"{_GTSRB}/GTSRB_Final_Test_Images.zip",),
             "md5:c7e4e6327067d32654124b0fe9e82185", 88978620),
        Part("GTSRB_Final_Test_GT.zip", (f"{_GTSRB}/GTSRB_Final_Test_GT.zip",),
             "md5:fe31e9c9270bbcd7b84b7f21a9d9d9e5", 99620),
    ),
    citation="Stallkamp et al., Neural Networks 2012", splits={"train": 26640, "test": 12630},
    mean=(0.3403, 0.3121, 0.3214), std=(0.2724, 0.2608, 0.2669),
    lookalikes=(
        Lookalike("the signs converted to PNG", "the published .ppm files", names=("*/Train/[0-9]*/*.png",)),
        Lookalike("the full training set of 39,209 signs", "GTSRB-Training_fixed.zip",
                  names=("*/GTSRB_Final_Training_Images.zip",)),
    ),
)  # fmt: skip
TINY_IMAGENET = ArchiveEntry(
    "tiny_imagenet", "Tiny ImageNet", ("http://cs231n.stanford.edu/tiny-imagenet-200.zip",),
    "md5:90528d7ca1a48142e341f4ef8d21d0de", 248100043, licence="ImageNet's terms", mirror=False,
    citation="Le, Yang, Tiny ImageNet, 2015", homepage="http://cs231n.stanford.edu/",
    splits={"train": 100000, "val": 10000, "predict": 10000},
    mean=(0.4802, 0.4481, 0.3975), std=(0.2770, 0.2691, 0.2821),
)  # fmt: skip
CELEBA = ArchiveEntry(
    "celeba", "CelebA", ("https://drive.google.com/file/d/0B7EVK8r0v71pZjFTYXZWM3FlRnM/view",),
    "md5:00d2c5bc6d35e252742224ab0c1e8fcb", 1443490838, into="celeba/img_align_celeba",
    file="img_align_celeba.zip",
    more=tuple(
        Part(name, (f"https://drive.google.com/file/d/{key}/view",), f"md5:{md5}", size, "celeba")
        for name, key, md5, size in (
            ("list_attr_celeba.txt", "0B7EVK8r0v71pblRyaVFSWGxPY0U", "75e246fa4810816ffd6ee81facbd244c", 26721026),
            ("list_eval_partition.txt", "0B7EVK8r0v71pY0NSMzRuSXJEVkk", "d32c9cbf5e040fd4025c592c306e6668", 2836386),
            ("identity_CelebA.txt", "1_ee_0u7vcNLOfNLegJRHmolfH5ICW-XS", "32bd1bd63d3c78cd57e08160ec5ed1e2", 3424458),
        )
    ),
    licence="non-commercial research only", citation="Liu, Luo, Wang, Tang, ICCV 2015", mirror=False,
    homepage="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html", task="multi-label",
    splits={"train": 162770, "val": 19867, "test": 19962}, search_words="celeba-dataset",
    lists=_faces,
)  # fmt: skip
LFW = ArchiveEntry(
    "lfw", "Labeled Faces in the Wild", ("https://ndownloader.figshare.com/files/5976018",),
    "sha256:055f7d9c632d7370e6fb4afc7468d40f970c34a80d4c6f50ffec63f5a8d536c0", 180566744, file="lfw.tgz",
    citation="Huang et al., UMass 07-49, 2007", splits={"train": 13233},
)  # fmt: skip
MALARIA = ArchiveEntry(
    "malaria", "Malaria cells", ("https://data.lhncbc.nlm.nih.gov/public/Malaria/cell_images.zip",),
    "sha256:0a949556b2414159b5100192609805376654c4266d8d187be9b1922fad43c668", 353452851,
    homepage="https://lhncbc.nlm.nih.gov/LHC-downloads/downloads.html",
)  # fmt: skip
AIRCRAFT = ArchiveEntry(
    "fgvc_aircraft", "FGVC-Aircraft", (f"{_VGG}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",),
    "sha256:e4e323d410e29f0370c81eabdcbb0e2b813acea1de22891b70b58ff41bfc9834", 2753340328,
    licence="non-commercial research only", citation="Maji et al., arXiv 1306.5151", mirror=False,
    homepage=f"{_VGG}/fgvc-aircraft/", lists=_aircraft, splits={"train": 3334, "val": 3333, "test": 3333},
)  # fmt: skip
CLIP = (
    ArchiveEntry(
        "country211", "Country211", ("https://openaipublic.azureedge.net/clip/data/country211.tgz",),
        "md5:84988d7644798601126c29e9877aab6a", None, citation="Radford et al., arXiv 2103.00020",
        splits={"train": 31650, "val": 10550, "test": 21100},
    ),
    ArchiveEntry(
        "rendered_sst2", "Rendered SST-2", ("https://openaipublic.azureedge.net/clip/data/rendered-sst2.tgz",),
        "md5:2384d08e9dcfa4bd55b324e610496ee5", None, citation="Radford et al., arXiv 2103.00020",
        splits={"train": 6920, "val": 872, "test": 1821}, classes=("negative", "positive"),
    ),
)  # fmt: skip
SUN397 = ArchiveEntry(
    "sun397", "SUN397", ("http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz",),
    "md5:8ca2778205c41d23104230ba66911c7a", 39077296924, citation="Xiao et al., CVPR 2010",
    lists=_scenes,
)  # fmt: skip
PLACES365 = ArchiveEntry(
    "places365_val", "Places365, validation", ("http://data.csail.mit.edu/places/places365/val_256.tar",),
    "md5:e27b17d8d44f4af9a78502beb927f808", 525158400, into="val_256",
    more=(Part("filelist_places365-standard.tar",
               ("http://data.csail.mit.edu/places/places365/filelist_places365-standard.tar",),
               "md5:35a0585fee1fa656440f3ab298f8479c", 67498496),),
    licence="research only", citation="Zhou et al., PAMI 2017", homepage="http://places2.csail.mit.edu/", mirror=False,
    lists=_places, splits={"train": 36500},
)  # fmt: skip

ENTRIES = (
    *IMAGENETTE, FLOWER_PHOTOS, *CATS_VS_DOGS, HORSE_OR_HUMAN, ROCK_PAPER_SCISSORS, HYMENOPTERA, BEANS, FLOWERS102,
    PETS, FOOD101, *CALTECH, DTD, EUROSAT, GTSRB, TINY_IMAGENET, CELEBA, LFW, MALARIA, AIRCRAFT, *CLIP,
    SUN397, PLACES365,
)  # fmt: skip
