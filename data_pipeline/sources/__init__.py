"""Where text comes from: names of corpora, tables, datasets, running text, and the filters of sentence pairs."""
