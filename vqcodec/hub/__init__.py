"""Repositories of the Hugging Face hub: addresses, files with pinned commits. Needs the extra `hub`."""
