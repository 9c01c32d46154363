"""Colab's errors."""


class Error(Exception):
    """Base of them, but not of all."""


class AuthorizationError(Error):
    pass


class RuntimeManagementError(Error):
    pass


class WidgetException(Exception):
    pass
