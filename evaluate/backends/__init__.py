"""What turns source ids into hypotheses: PyTorch or CTranslate2."""
