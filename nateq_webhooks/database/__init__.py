"""What differs between databases, and what is shared by models: retries, caches, encodings, secrets. No models."""
