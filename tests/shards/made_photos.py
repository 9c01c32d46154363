"""Small photos that differ, in class folders."""

import numpy as np
from PIL import Image


def picture(path, height=60, width=80, seed=0):
    """Save a picture under this name, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rough = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


def make_photos(folder, n=60):
    """Save photos of three classes, of two sizes and formats, and return the folder."""
    for i in range(n):
        name = f"{['cat', 'dog', 'emu'][i % 3]}/{i:02}{'.png' if i % 10 == 0 else '.jpg'}"
        picture(folder / name, *((60, 80) if i % 2 else (90, 50)), seed=i)
    return folder


KILLER = """
import os, sys, datastage
class Killer:
    def __init__(self, left, signal):
        self.left, self.signal = left, signal
    def phase(self, name, total_bytes): pass
    def resume(self, n_bytes): pass
    def note(self, text, label=""): pass
    def advance(self, n_bytes):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), self.signal)
"""
"""The beginning of a program that packs: progress which sends this process a signal after so many pictures."""
