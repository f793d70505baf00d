"""Generated scenes whose picture and sound move together."""
