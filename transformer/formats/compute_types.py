"""Number formats in which CTranslate2 stores weights."""

COMPUTE_TYPES = (
    "float32", "float16", "bfloat16", "int16", "int8", "int8_float32", "int8_float16", "int8_bfloat16",
)  # fmt: skip
