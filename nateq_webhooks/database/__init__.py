"""Transactions that are retried, and rows that a process caches. No models."""
