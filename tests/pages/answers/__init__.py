"""Page Answer."""
