"""Lines into segments that fit the model, and translated segments into lines."""
