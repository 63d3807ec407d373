"""Map tokens to logits: two decoders with one contract, their KV cache, weight formats, threads and fidelity check."""
