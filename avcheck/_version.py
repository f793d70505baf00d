"""The version, in a module of its own so that any room can read it without loading the package's
face.
"""

__version__ = "0.1.0"
