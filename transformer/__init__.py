"""The Transformer of "Attention Is All You Need" (Vaswani et al., 2017), and a GPT built from the same blocks.

Letters at the end of a tensor's name give its shape, in the whole repository:

B batch, L query (target) length, M memory (source) length, D d_model, H heads (of keys and values there are
model.n_kv_heads), K head size (of values: model.d_value, if it is set), F d_ff, V vocabulary, N rows in decoding
(batch x beams, or samples).

The batch comes first. In boolean masks, True means "may attend".
"""
