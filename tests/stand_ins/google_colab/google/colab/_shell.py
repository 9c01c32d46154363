"""The shell of a Colab kernel, as far as anybody looks at it: its class, and that it has a kernel."""


class Kernel:
    _allow_stdin = True


class Shell:
    """The real one derives from ipykernel's ZMQInteractiveShell."""

    def __init__(self):
        self.kernel = Kernel()
