"""Settings and weights of other projects: GPT-2 and CTranslate2."""
