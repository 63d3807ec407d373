"""Export recipes as programs: Python files and Jupyter notebooks."""
