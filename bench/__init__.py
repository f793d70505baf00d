"""What a check costs, beside another checkout: `python -m bench --help`. Not part of the
package.
"""
