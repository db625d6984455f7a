"""Seconds: of commands, of steps, of sampling."""
