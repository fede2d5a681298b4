"""The error that a user causes and can fix."""


class InputError(ValueError):
    """Wrong input: the message says what is wrong, where, and what to do.

    Commands print the message and end with status 2. Any other exception is a bug and keeps its traceback.
    """
