"""Search, sampling and scores: from a trained model to text and BLEU."""
