"""The `vqcodec` command: one file a command, groups in folders of their own."""
