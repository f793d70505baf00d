"""Times, numbers and languages as people write them."""
