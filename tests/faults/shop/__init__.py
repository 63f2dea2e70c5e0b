"""A shop whose receivers fail every now and then, before or after they have written."""
