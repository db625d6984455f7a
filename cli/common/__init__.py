"""What commands share: files and batches, options, loading of models, errors in one line."""
