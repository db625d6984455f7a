"""Training pictures: files, shards, toy sets, labels, and batches of crops."""
