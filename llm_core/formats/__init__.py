"""Export and import recipes and runs in the formats of other programs; `registry` lists them."""
