"""Errors that a client gets as `{"error": …}` with a status code."""


class ApiError(Exception):
    """A request that is not answered. The message is for the client."""

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        """Create an error; `retry_after` is the number of seconds after which the client may try again."""
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


def invalid(problem: str) -> ApiError:
    """Return the error for a request with an invalid field."""
    return ApiError(400, f"Invalid request: {problem}")
