"""The record of a file, and what is made of records."""
