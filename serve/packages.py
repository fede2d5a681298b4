"""The packages that the server needs in addition to those of the other commands."""

import importlib

from common.errors import InputError

PACKAGES = {
    "fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart",
    "prometheus_client": "prometheus-client",
}  # fmt: skip
"""Names for pip, by names for import."""


def check_packages() -> None:
    """Raise InputError with the command that installs what is missing."""
    for name, package in PACKAGES.items():
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InputError(
                f"{package} is not installed, and the server needs it. Run: pip install {' '.join(PACKAGES.values())}"
            ) from error
