"""The doctor checks data, vocabulary, model, memory and time before a long run."""
