"""Small trainings side by side: what a quantiser, a loss or a factor changes."""
