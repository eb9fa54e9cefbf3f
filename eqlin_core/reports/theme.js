"use strict";
// Before anything is drawn: the reader's own theme, light without one.
document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
