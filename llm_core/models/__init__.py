"""Find, fetch, convert and load models, and keep the loaded ones in memory."""
