"""Implement algorithms over whole sequences: beam search, best of n, contrastive search, speculative acceptance."""
