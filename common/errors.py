"""The error that a user causes and can fix."""


class InputError(ValueError):
    """Wrong input: the message says what is wrong, where, and what to do.

    Commands print the message and end with status 2. Any other exception is a bug and keeps its traceback.
    """


def first_line(error: BaseException) -> str:
    """Return the first line of another library's message, or the name of the exception if it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
