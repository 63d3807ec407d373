"""Run local models: the engine's thread, its batches of active sequences, and the cache of prefixes they share."""
