"""The formats that tests write: all, but OpenTimelineIO's where that library is not installed, as
there is none for every Python (tests of the format itself then skip, saying so).
"""

from importlib.util import find_spec

from avcheck.render import FORMATS, ONE_TITLE

WRITABLE = [form for form in FORMATS if form != "otio" or find_spec("opentimelineio")]
SEVERAL = [form for form in WRITABLE if form not in ONE_TITLE]
