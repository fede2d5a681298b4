"""Limits of the server: characters, waiting requests, time."""

from dataclasses import dataclass

from common.errors import InputError

BYTES_PER_CHARACTER = 12
"""Largest size of a character in a request: an emoji is `%F0%9F%98%80` in a form and two `\\uXXXX` in JSON."""
FILE_BYTES_PER_CHARACTER = 4
"""Largest size of a character in a file."""
OTHER_BYTES = 16_384
"""Size of a request besides its text."""
READ_SECONDS = 10.0
"""Largest time that a client takes to send the body of a request."""
FILE_JOB = 2000
"""Number of characters of a file that are translated at once, so that other requests need not wait for the file."""
FILES = 50
"""Largest number of translated files that are kept."""
FILE_SECONDS = 1800.0
"""Time for which a translated file is kept."""

MAX_BEAM = 8
"""Largest beam that a request may choose."""
MAX_EXPLAINED = 400
"""Largest number of characters of a sentence that is explained."""


@dataclass(frozen=True)
class Limits:
    """Limits of the server. Raises InputError for a limit out of range."""

    characters: int = 5000
    """Largest number of characters of a request, and of requests that are translated together."""
    queue: int = 64
    """Largest number of requests that wait; more are refused with status 429."""
    seconds: float = 60.0
    """Largest time in seconds from the end of a request to its answer; after it the status is 503."""
    batch: int = 32
    """Largest number of requests that are translated together; 1 is one after another."""
    file_characters: int = 100_000
    """Largest number of characters of a file."""

    def __post_init__(self) -> None:
        options = {
            "characters": "--char-limit", "queue": "--queue", "batch": "--batch-requests",
            "file_characters": "--file-char-limit",
        }  # fmt: skip
        for name, option in options.items():
            if getattr(self, name) < 1:
                raise InputError(f"{option} is {getattr(self, name)}; it must be at least 1")
        if not 0 < self.seconds < float("inf"):
            raise InputError(f"--timeout is {self.seconds}; it must be a number of seconds above 0")

    @property
    def body(self) -> int:
        """Largest size of the body of a request in bytes."""
        return self.characters * BYTES_PER_CHARACTER + OTHER_BYTES

    @property
    def file_body(self) -> int:
        """Largest size of a request with a file in bytes."""
        return self.file_characters * FILE_BYTES_PER_CHARACTER + OTHER_BYTES
