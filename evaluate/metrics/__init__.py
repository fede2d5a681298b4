"""BLEU, chrF, TER, the paper's own BLEU, pronouns, and tests of significance."""
