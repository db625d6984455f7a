"""The core in C (`core/`), from Python: loaded with ctypes, where it was built. Imports no torch."""
