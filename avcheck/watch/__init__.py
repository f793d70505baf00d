"""A folder that files arrive in: each is checked once it is whole, and put where it belongs.

The order of the steps makes it safe to be killed at any moment: write the record; note where the
file will go; put it there; run the hook; note that all is done. Each step is on disk before the
next begins, and each can be repeated.
"""
