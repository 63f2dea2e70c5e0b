"""Retrying failed runs from the list of runs and the dashboard: which, the page that asks, acknowledging a group."""
