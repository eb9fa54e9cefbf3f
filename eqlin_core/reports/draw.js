"use strict";
(() => {
  const root = document.documentElement;
  const charts = [...document.querySelectorAll(".chart")].map((place) => ({
    place,
    spec: JSON.parse(document.getElementById(place.id.replace("chart-", "spec-")).textContent),
  }));

  // The figure of a theme: the light one, and what differs in the dark one put into a copy.
  function figure(spec, theme) {
    const made = structuredClone(spec.figure);
    for (const [way, value] of theme === "dark" ? spec.dark : []) {
      const last = way[way.length - 1];
      way.slice(0, -1).reduce((at, key) => at[key], made)[last] = value;
    }
    return made;
  }

  function draw(width) {
    for (const { place, spec } of charts) {
      const { data, layout } = figure(spec, root.dataset.theme);
      Plotly.react(place, data, { ...layout, ...(width ? { width } : { autosize: true }) }, { ...spec.config, responsive: true });
    }
  }

  function become(theme) {
    root.dataset.theme = theme;
    button.textContent = theme === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Show the ${theme === "dark" ? "light" : "dark"} theme`);
    draw();
  }

  const button = document.getElementById("theme");
  button.hidden = false;
  button.addEventListener("click", () => become(root.dataset.theme === "dark" ? "light" : "dark"));
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  preferred.addEventListener("change", () => become(preferred.matches ? "dark" : "light"));
  become(root.dataset.theme);

  // Paper is light, and narrower than a screen: 182 mm of A4 and of a letter are left between the margins.
  let before = "light";
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    draw(680);
  });
  addEventListener("afterprint", () => become(before));
})();
