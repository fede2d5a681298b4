"""Text to batches: corpora, filters, tokenizers, prepared data, and which examples form an update."""
