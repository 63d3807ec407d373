"""Nucleus: page setup, language, kept work and router; nothing else. Run with `streamlit run app.py`."""

import streamlit as st

from pages.ui import branch_address, frame, i18n, router

st.set_page_config(page_title="Nucleus", page_icon=frame.MARK, layout="wide", initial_sidebar_state=240)
i18n.settle_language()
branch_address.settle_work()
page = router.route()
frame.sidebar()
page.run()
