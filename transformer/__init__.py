"""The Transformer of "Attention Is All You Need" (Vaswani et al., 2017), and a GPT from the same blocks.

One legend for the shapes in tensor names, in the whole repository:
B batch, L query (target) length, M memory (source) length, D d_model, H heads (of keys and values there are
fewer where `model.n_kv_heads` says so), K head size, F d_ff,
V vocabulary, N rows decoded at once (batch x beams, or samples). Batch first. Boolean masks: True = may be attended to.
"""
