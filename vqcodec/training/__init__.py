"""Training of both stages, and what becomes of a finished run: a model on disk."""
