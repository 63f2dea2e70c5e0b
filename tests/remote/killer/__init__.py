"""An app that kills its process with SIGKILL before or after the n-th call of a function; for a site in a test."""
