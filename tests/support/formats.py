"""The formats that a document of several titles can have."""

from avcheck.render import FORMATS, ONE_TITLE

SEVERAL = [form for form in FORMATS if form not in ONE_TITLE]
