"""Tokens to text while they arrive."""

from data_pipeline.tokenizers import TextTokenizer

REPLACEMENT = "\ufffd"  # what bytes that are no character decode to
MOST_HELD = 3  # a character has at most four bytes, so three may be waiting for the last one


class TextStream:
    """The text that tokens add to a context, in pieces: each as soon as no later token can change it.

    A token may be part of a character, and what it decodes to may depend on the one before it. So tokens are decoded
    together with those that came before, as far back as the text is certain to be whole.
    """

    def __init__(self, tokenizer: TextTokenizer, context: list[int]) -> None:
        self._tokenizer = tokenizer
        self._ids = context
        self._text = tokenizer.decode_text(context)
        self._given = len(self._text)  # characters of `_text` that need not be given any more

    def add(self, ids: list[int]) -> str:
        """The piece of text that has become certain with these tokens; often "" and never taken back."""
        self._ids = self._ids + ids
        self._text = self._tokenizer.decode_text(self._ids)
        held = min(len(self._text) - len(self._text.rstrip(REPLACEMENT)), MOST_HELD)
        piece = self._give(len(self._text) - held)
        if held == 0:
            self._forget()
        return piece

    def end(self) -> str:
        """What was still waiting: bytes that no more can follow."""
        return self._give(len(self._text))

    def _give(self, end: int) -> str:
        piece = self._text[self._given : end]
        self._given = max(self._given, end)
        return piece

    def _forget(self) -> None:
        """Go on from the last token alone, or every token would take longer than the one before it."""
        last = self._ids[-1:]
        if text := self._tokenizer.decode_text(last):  # a space at the start of a text may be nothing
            self._ids, self._text, self._given = last, text, len(text)
