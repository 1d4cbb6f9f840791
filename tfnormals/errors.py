"""The errors a caller can fix; each is also the builtin a library user expects."""


class TfnormalsError(Exception):
    """Anything the caller can fix."""


class CloudError(TfnormalsError, ValueError):
    """A cloud cannot be read, used or written."""


class ModelError(TfnormalsError, ValueError):
    """A model is unknown, damaged or newer than this version."""


class DataError(TfnormalsError, ValueError):
    """Training or evaluation data cannot be used."""


class OutputExistsError(TfnormalsError, FileExistsError):
    """Writing would replace a file."""
