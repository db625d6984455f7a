"""What is computed on: devices and types, and several processes that train together."""
