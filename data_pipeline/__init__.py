"""Text to batches: corpora, filters, tokenizer, and the ids that training reads."""
