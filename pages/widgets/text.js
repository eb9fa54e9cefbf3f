// The text as tokens that can be clicked: each leads to where it was predicted. Tokens of one group light up together.
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".eq-text");
  const focused = root.querySelector(":focus")?.dataset.at, scrolled = root.scrollTop, first = !root.childElementCount;
  root.setAttribute("aria-label", data.label);
  root.style.setProperty("--eq-muted", data.muted);
  root.replaceChildren();
  const chips = [];
  for (const token of data.tokens) {
    if (token.before) {
      const head = document.createElement("span");
      head.className = "eq-role";
      head.textContent = token.before;
      root.append(head);
    }
    const chip = document.createElement(token.at === null ? "span" : "button");
    chip.className = ["eq-token", token.muted && "eq-muted", token.later && "eq-later", token.joined && "eq-joined"]
      .filter(Boolean).join(" ");
    chip.textContent = token.text;
    chip.title = token.title;
    chip.dir = "auto";
    if (token.colours) [chip.style.backgroundColor, chip.style.color] = token.colours;
    if (token.at !== null) {
      chip.type = "button";
      chip.dataset.at = token.at;
      chip.onclick = () => setTriggerValue("went", token.at);
    }
    if (token.explained) chip.setAttribute("aria-current", "true");
    chip.onmouseenter = () => chips.forEach(([other, group]) => other.classList.toggle("eq-lit", group === token.group));
    chip.onmouseleave = () => chips.forEach(([other]) => other.classList.remove("eq-lit"));
    chips.push([chip, token.group]);
    root.append(chip);
    if (token.breaks) root.append(document.createElement("br"));
  }
  root.scrollTop = scrolled;
  if (focused !== undefined) root.querySelector(`[data-at="${focused}"]`)?.focus({ preventScroll: true });
  const current = root.querySelector("[aria-current]");
  if (current && (first || root.dataset.current !== current.dataset.at))
    root.scrollTop += current.getBoundingClientRect().top - root.getBoundingClientRect().top - root.clientHeight / 3;
  const top = root.getBoundingClientRect().top, lines = chips.map(([chip]) => chip.getBoundingClientRect().top - top);
  const line = Math.min(...lines.filter(y => y >= -2)); // the box begins with a whole line
  if (root.scrollTop > 0 && Number.isFinite(line)) root.scrollTop += line - 2;
  root.dataset.current = current?.dataset.at ?? "";
}
