"""Convert tokens to text while they arrive."""

from data_pipeline.tokenizers import TextTokenizer

REPLACEMENT = "\ufffd"
"""Text of bytes that are not a complete character."""
MAX_HELD = 3
"""A character has at most four bytes, so at most three can wait for the last one."""


class TextStream:
    """The text that tokens add to a context. Each piece of text is returned as soon as later tokens cannot change it.

    A token may be a part of a character, and its text may depend on the token before it. So tokens are decoded
    together with earlier tokens, back to a point where the text is complete.
    """

    def __init__(self, tokenizer: TextTokenizer, context: list[int]) -> None:
        self._tokenizer = tokenizer
        self._ids = context
        self._text = tokenizer.decode_text(context)
        self._returned = len(self._text)  # number of characters of `_text` that are returned or belong to the context

    def add(self, ids: list[int]) -> str:
        """Return the text that becomes certain with these tokens; often ""."""
        self._ids = self._ids + ids
        self._text = self._tokenizer.decode_text(self._ids)
        held = min(len(self._text) - len(self._text.rstrip(REPLACEMENT)), MAX_HELD)
        new = self._take(len(self._text) - held)
        if held == 0:
            self._drop_context()
        return new

    def end(self) -> str:
        """Return the rest of the text: bytes that no token can complete any more."""
        return self._take(len(self._text))

    def _take(self, end: int) -> str:
        new = self._text[self._returned : end]
        self._returned = max(self._returned, end)
        return new

    def _drop_context(self) -> None:
        """Keep the last token only. Otherwise each token would take longer to decode than the one before it."""
        last = self._ids[-1:]
        if text := self._tokenizer.decode_text(last):  # "" for a space at the beginning of a text
            self._ids, self._text, self._returned = last, text, len(text)
