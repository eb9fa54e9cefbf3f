"""The scripts that Streamlit runs, one a page, and the rooms that they are made of."""
