"""Nucleus: page setup, language and router; nothing else. Run with `streamlit run app.py`."""

import streamlit as st

from pages.ui import frame, i18n, router

st.set_page_config(page_title="Nucleus", page_icon=frame.MARK, layout="wide", initial_sidebar_state=240)
i18n.settle_language()
page = router.route()
frame.sidebar()
page.run()
