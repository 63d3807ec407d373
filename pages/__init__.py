"""Web pages. Apart from `app.py`, this is the only package that imports streamlit or plotly."""
