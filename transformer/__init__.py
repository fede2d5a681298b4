"""The Transformer of "Attention Is All You Need" (Vaswani et al., 2017), and a GPT from the same blocks.

One legend for the shapes in tensor names, in the whole repository:
B batch, L query (target) length, M memory (source) length, D d_model, H heads, K head size, F d_ff,
V vocabulary, N batch x beams. Batch first. Boolean masks: True = may be attended to.
"""
