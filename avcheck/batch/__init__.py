"""Many files: finding them, spreading them over processes, keeping what is done."""
