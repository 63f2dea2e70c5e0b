"""A site for processes of their own: it connects receivers that tell the test what they do."""
