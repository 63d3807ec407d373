"""Describe requests and record runs, and build techniques out of runs: beam search, branches, several chains."""
