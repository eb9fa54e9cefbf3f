"""eqlin: the equivalent linear map of a language model at the prompt you typed. Run with `streamlit run app.py`."""

import streamlit as st

if __name__ != "__main__":  # imported by the server, which runs this file again for every visitor
    from pages.door.server import middleware, opening

    app = st.App(__file__, middleware=middleware(), lifespan=opening)
else:
    from pages.door import gate
    from pages.frame import look
    from pages.frame.address import without_huge_numbers
    from pages.frame.entry import ask, enter_app
    from pages.frame.present import present, switch
    from pages.frame.recent import recent
    from pages.frame.sidebar import sidebar
    from pages.frame.strip import strip
    from pages.visit import polling
    from pages.visit.session import session
    from pages.widgets.theme import follow_theme

    polling.begin()
    st.set_page_config(page_title="eqlin", layout="wide", initial_sidebar_state="auto")
    look.apply()
    present()
    st.logo(look.wordmark(), size="large")
    page = st.navigation(
        [
            st.Page("pages/start.py", title="Start", url_path="start", default=True),
            st.Page("pages/tokens.py", title="Tokens", url_path="tokens"),
            st.Page("pages/answer.py", title="Answer", url_path="answer"),
            st.Page("pages/spectra.py", title="Spectra", url_path="spectra"),
            st.Page("pages/matrix.py", title="Matrix", url_path="matrix"),
            st.Page("pages/layers.py", title="Layers", url_path="layers"),
            st.Page("pages/steering.py", title="Steering", url_path="steering"),
            st.Page("pages/compare.py", title="Compare", url_path="compare"),
            st.Page("pages/study.py", title="Study", url_path="study"),
            st.Page("pages/runs.py", title="Runs", url_path="runs"),
            st.Page("pages/models.py", title="Models", url_path="models"),
        ],
        position="hidden" if gate.closed() else "sidebar",
    )
    gate.ask_in()
    without_huge_numbers()
    request = sidebar()
    if request is not None:
        ask(request)
    recent()
    switch()
    strip()
    follow_theme()
    enter_app()
    page.run()
    session().make_ready()
    polling.draw_parts()
