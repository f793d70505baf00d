"""What a pipeline did to the sync of a title, by comparing a file with its reference."""
