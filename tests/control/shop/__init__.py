"""A shop whose receivers note when they started, for which run, and what was there before them."""
