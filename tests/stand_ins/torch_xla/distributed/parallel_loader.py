"""As torch_xla.distributed.parallel_loader 2.8 and 2.9: reads ahead, and takes an error there for the end."""

import queue
import threading

import torch

shapes = set()
"""Every shape that was given to a device: each new one would be compiled for."""


class ParallelLoader:
    """A thread reads, another sends, and only `close` ends them before the end."""

    def __init__(self, loader, devices, **kwargs):
        self._loader, self._done = loader, threading.Event()
        self._read, self._sent = queue.Queue(16), queue.Queue(8)
        self._threads = [threading.Thread(target=work, name="xla", daemon=True) for work in (self._reads, self._sends)]
        for thread in self._threads:
            thread.start()

    def _put(self, into, item):
        while not self._done.is_set():
            try:
                return into.put(item, timeout=0.01)
            except queue.Full:
                pass

    def _get(self, of):
        while not self._done.is_set():
            try:
                return of.get(timeout=0.01)
            except queue.Empty:
                pass

    def _reads(self):
        try:
            for batch in self._loader:
                self._put(self._read, batch)
                if self._done.is_set():
                    return
        finally:  # whatever happens there, only the queue is closed
            self._put(self._read, None)

    def _sends(self):
        while (batch := self._get(self._read)) is not None:
            self._put(self._sent, batch)
        self._put(self._sent, None)

    def per_device_loader(self, device):
        while (batch := self._get(self._sent)) is not None:
            assert all(isinstance(part, torch.Tensor) and part.device.type == "cpu" for part in batch)
            shapes.add(tuple(tuple(part.shape) for part in batch))
            yield batch

    def close(self):
        self._done.set()
        for thread in self._threads:
            thread.join()
