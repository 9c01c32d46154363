"""Recordings. They are staged whole; `layouts` says how to feed them. Digests: torchaudio 2.11 (sha256)."""

from __future__ import annotations

from datastage.entry import ArchiveEntry, Lookalike

_SPEECH = (
    "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
    "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
)

ENTRIES = (
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
)  # fmt: skip
