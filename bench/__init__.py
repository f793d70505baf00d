"""What a check costs, compared with another checkout: `python -m bench --help`. Not part of the
package.
"""
