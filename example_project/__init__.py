"""A small Django project that receives Nateq webhooks and shows its tickets on a board."""
