"""Read large tables by key: a page, a count and a filter cost the same wherever in the table they are. No models."""
