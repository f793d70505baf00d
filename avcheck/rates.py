"""The rates that a check works at, whatever those of the file are."""

SAMPLE_RATE = 16_000  # Hz, of mono sound
FRAME_RATE = 25  # pictures a second
SAMPLES_A_FRAME = SAMPLE_RATE // FRAME_RATE
