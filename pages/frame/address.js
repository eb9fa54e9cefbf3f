// The address of what is shown: a step of the browser's history for every analysis, and a button that copies it.
const ASKED = ["prompt", "model", "dtype", "gated_path", "attention", "begin", "as_chat", "answer", "position"];
const TOGETHER = 800; // milliseconds in which changes of the address belong to one step
const RETURNING = 3000; // and after a step back in which the address only follows the page
const ANSWERING = 30000; // and in which a page that does not know of the step yet must not write where it came from

const asked = url => ASKED.map(name => url.searchParams.get(name) ?? "").join("\n");

function tidied(url, world) {
  const prompt = url.searchParams.get("prompt"), answer = url.searchParams.get("answer") ?? "";
  if (world.run && (prompt ?? world.prompt) === world.prompt && answer === world.answer) {
    if (prompt === null && !answer) return url;
    for (const name of ["prompt", "answer"]) url.searchParams.delete(name);
    url.searchParams.set("run", world.run);
  } else if (prompt !== null) url.searchParams.delete("run");
  return url;
}

function watch(world) {
  const replace = history.replaceState.bind(history), push = history.pushState.bind(history);
  const write = (how, state, title, address) => {
    if (address === undefined || address === null) return how(state, title, address);
    const here = tidied(new URL(location.href), world), next = tidied(new URL(address, location.href), world);
    const will = asked(next), waiting = !world.tidying && performance.now() - world.returned < ANSWERING;
    if (waiting && next.pathname === here.pathname) {
      if (will === world.left) return undefined;
      world.left = undefined; // it has heard of the step, or somebody asked for something else
    }
    world.at = will;
    const another = next.pathname === here.pathname && asked(next) !== asked(here), now = performance.now();
    const step = another && now - world.stepped > TOGETHER && now - world.returned > RETURNING;
    if (step) world.stepped = now;
    return (step ? push : next.pathname === here.pathname ? replace : how)(state, title, next);
  };
  history.replaceState = (...all) => write(replace, ...all);
  history.pushState = (...all) => write(push, ...all);
  addEventListener("popstate", () => {
    world.returned = performance.now();
    world.left = world.at;
    world.at = asked(new URL(location.href));
    if (world.left === world.at) world.left = undefined;
    setTimeout(() => world.send("went", location.search || "?"), 150);
  });
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // a server without a certificate has no clipboard
    const area = document.body.appendChild(Object.assign(document.createElement("textarea"), { value: text }));
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

export default function ({ data, parentElement, setTriggerValue }) {
  const first = window.eqlinAddress === undefined;
  const world = (window.eqlinAddress ??= { stepped: -TOGETHER, returned: -RETURNING });
  Object.assign(world, { run: data.run, prompt: data.prompt, answer: data.answer });
  if (new URL(location.href).searchParams.get("prompt") === data.shown) world.left = undefined; // the page has arrived
  world.send = setTriggerValue;
  if (first) watch(world);
  world.tidying = true;
  history.replaceState(history.state, "", location.href); // which tidies it
  world.tidying = false;
  const button = parentElement.querySelector("button");
  button.disabled = data.unlinked;
  button.title = data.help;
  button.onclick = async () => {
    await copy(location.href);
    button.textContent = "✓";
    setTimeout(() => { button.textContent = "Link"; }, 1500);
  };
}
