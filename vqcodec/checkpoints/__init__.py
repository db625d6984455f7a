"""Checkpoints of other projects: files read without running them, families recognised, tensors translated."""
