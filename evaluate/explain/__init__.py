"""Show what a model computes for one sentence: as text, as a page, as the paper's pictures of attention."""
