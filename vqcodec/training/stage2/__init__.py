"""Training of the prior: recipes, tokens of crops, validation, and turning it into whole numbers."""
