"""What a quality or a limit in bytes comes to, and tokens chosen by what they cost."""
