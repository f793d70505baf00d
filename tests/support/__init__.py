"""What several test modules need: generated media, stand-ins, and programs that measure."""
