"""Open a file safely and decode it: every picture and every run of samples stamped on ONE clock, in
seconds.

Time is `pts * time_base`, never a count of frames or samples, and never minus a stream's own start:
a stream's start is part of its sync. Both streams of a file share one zero. In mp4 and mov it is
the zero of the edit list; in every other format it is the earliest timestamp of the file (an
MPEG-TS clock starts anywhere). What lies before zero is pre-roll that no player shows, and is
dropped.

Pictures and sounds come from two containers opened on the same file, so that either can run ahead
of the other whatever the interleaving, and memory stays bounded. Only local, regular files of known
formats are opened, and nothing that a file points to is followed. A damaged packet costs that
packet: it is counted in `Media.degraded`, and decoding goes on.
"""

from __future__ import annotations

from avcheck.media.base import Luma, MediaInfo, Picture, Samples, Sound
from avcheck.media.reader import Media, audio_tracks, open_media

__all__ = [
    "Luma",
    "Media",
    "MediaInfo",
    "Picture",
    "Samples",
    "Sound",
    "audio_tracks",
    "open_media",
]
