"""Nucleus: start the app with `streamlit run app.py`.

Each rerun sets up the page and language, restores work and recipes that the URL names, and runs the selected page.
"""

import streamlit as st

from pages.ui.best_of_n.recipe import open_in_best_of_n
from pages.ui.compare.recorded import open_in_compare
from pages.ui.playground import open_recipe, recipe_links, work_address
from pages.ui.shell import frame, i18n, navigation

st.set_page_config(page_title="Nucleus", page_icon=frame.ICON_PATH, layout="wide", initial_sidebar_state=240)
open_recipe.OPENERS.update(best_of_n=open_in_best_of_n, compare=open_in_compare)
i18n.sync_language()
work_address.sync_work()
recipe_links.open_recipe_from_url()
page = navigation.select_page()
open_recipe.switch_to_next_page()
frame.show_sidebar()
page.run()
