"""As torch_xla.distributed.parallel_loader 2.8 and 2.9: reads ahead, and takes an error there for the end."""

import queue
import threading

import torch

import torch_xla

shapes = set()
"""Every shape that was given to a device: each new one would be compiled for."""


class ParallelLoader:
    """A thread reads, another sends, and only `close` ends them before the end."""

    def __init__(self, loader, devices, loader_prefetch_size=16, device_prefetch_size=8):
        self._loader, self._done = loader, threading.Event()
        self._read, self._sent = queue.Queue(loader_prefetch_size), queue.Queue(device_prefetch_size)
        # Threads get no name there either: Python names them by what they run.
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._loader_worker, self._worker)]
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

    def _loader_worker(self):
        try:
            for batch in self._loader:
                self._put(self._read, batch)
                if self._done.is_set():
                    return
        finally:  # whatever happens there, only the queue is closed
            self._put(self._read, None)

    def _worker(self):
        while (batch := self._get(self._read)) is not None:
            self._put(self._sent, batch)
        self._put(self._sent, None)

    def next_item(self, device):
        batch = self._get(self._sent)
        if batch is not None:
            assert all(isinstance(part, torch.Tensor) and part.device.type == "cpu" for part in batch)
            shapes.add(tuple(tuple(part.shape) for part in batch))
        return batch

    def per_device_loader(self, device):
        while True:
            torch_xla.sync()
            batch = self.next_item(device)
            if batch is None:
                return
            yield batch

    def close(self):
        self._done.set()
        for thread in self._threads:
            thread.join()


class MpDeviceLoader:
    """What every tutorial puts around a loader."""

    def __init__(self, loader, device, **kwargs):
        self._loader, self._device = loader, device

    def __len__(self):
        return len(self._loader)

    def __iter__(self):
        return iter(ParallelLoader(self._loader, [self._device]).per_device_loader(self._device))
