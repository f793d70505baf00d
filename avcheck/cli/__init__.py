"""The command `avcheck`."""
