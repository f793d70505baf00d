"""A folder that files arrive in: each is checked when it is whole, and put where it belongs.

The order is what makes it safe to be killed at any moment. The record is written first, then where
the file is to go, then it goes there, then the hook runs, then it is said that all is done. Each
step is on the disk before the next begins, and each can be taken again.
"""
