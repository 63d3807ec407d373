"""Nucleus: page setup, language, kept work, recipes in the address, router; nothing else. `streamlit run app.py`"""

import streamlit as st

from pages.ui import branch_address, frame, i18n, recipe_address, recipe_desk, router

st.set_page_config(page_title="Nucleus", page_icon=frame.MARK, layout="wide", initial_sidebar_state=240)
i18n.settle_language()
branch_address.settle_work()
recipe_address.settle_recipe()
page = router.route()
recipe_desk.follow()
frame.sidebar()
page.run()
