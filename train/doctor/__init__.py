"""What the doctor looks at: data, vocabulary, model, memory and time."""
