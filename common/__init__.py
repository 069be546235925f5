"""Everything the twenty stages share: models, tokenizer, loading, measuring, command lines."""
