"""The webhooks in the admin: the form, signing secrets, pauses, Nateq's side, test events."""
