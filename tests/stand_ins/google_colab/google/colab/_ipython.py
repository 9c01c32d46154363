"""The kernel, where there is one."""

try:
    import IPython as ipython
except ImportError:
    ipython = None


def get_ipython():
    return None if ipython is None else ipython.get_ipython()


def get_kernel():
    return get_ipython().kernel


def in_ipython():
    return get_ipython() is not None
