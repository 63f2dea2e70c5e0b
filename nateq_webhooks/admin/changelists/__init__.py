"""Change lists of large tables: each page, count and search is read through an index."""
