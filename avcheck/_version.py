"""The version. A module of its own, so that any room can import it without importing the whole
package.
"""

__version__ = "0.1.0"
