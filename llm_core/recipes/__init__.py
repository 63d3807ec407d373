"""Save, share, record and replay prompt configurations as recipes."""
