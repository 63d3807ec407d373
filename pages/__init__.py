"""The web pages: with `app.py` the only code that imports streamlit or plotly."""
