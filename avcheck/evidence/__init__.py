"""Evidence as a film: the most telling seconds of a title as they are, then with the offset taken
out.
"""
