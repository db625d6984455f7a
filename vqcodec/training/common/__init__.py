"""What both trainers share: the loop, checkpoints, interruption, logs, schedules, settings by name."""
