"""What a check costs, compared with another checkout: `python -m bench --help`. Not part of the
package.
"""

from pathlib import Path

HERE = Path(__file__).resolve().parent.parent  # this checkout
