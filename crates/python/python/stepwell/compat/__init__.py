"""The names of other systems, as their documents have them; nothing of their own is in here."""
