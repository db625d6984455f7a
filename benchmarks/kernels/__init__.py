"""The nearest codes: speed, rivals, floors, and indices that differ from the exact ones."""
