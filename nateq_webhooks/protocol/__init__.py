"""What Nateq sends, as pure Python: events, signatures and the envelope. Needs the standard library only."""
