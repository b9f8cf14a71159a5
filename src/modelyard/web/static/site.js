// What every page does: times that age, things to copy, pictures to zoom, the search key, and lists that stay true.

const STALE_AFTER = 2500; // ms without an answer, before a page says that the yard is away

const units = [[60, "s"], [60, "min"], [24, "h"], [365, "d"]];

function ago(then) {
  let value = Math.max(0, Math.floor((Date.now() - then) / 1000));
  if (value < 5) return "just now";
  for (const [limit, unit] of units) {
    if (value < limit) return `${value} ${unit} ago`;
    value = Math.floor(value / limit);
  }
  return `${value} y ago`;
}

function age() {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const said = ago(Date.parse(time.dateTime));
    if (time.textContent !== said) time.textContent = said;
  }
}

async function copy(button) {
  const beside = button.closest(".code")?.querySelector("pre")?.textContent ?? "";
  const given = button.dataset.copy;
  const text = "copyAddress" in button.dataset ? new URL(given, location.href).href : given || beside;
  try {
    await navigator.clipboard.writeText(text);
    say(button, "Copied");
  } catch {
    // Without https a browser may not let us; the reader can, once it is selected.
    const pre = button.closest(".code")?.querySelector("pre");
    if (pre) getSelection().selectAllChildren(pre);
    say(button, pre ? "Selected" : text);
  }
}

function say(button, word) {
  const before = (button.dataset.word ??= button.textContent);
  button.textContent = word;
  setTimeout(() => (button.textContent = before), 1500);
}

document.addEventListener("click", (event) => {
  const copying = event.target.closest("[data-copy]");
  if (copying) return copy(copying);
  const zooming = event.target.closest("[data-zoom]");
  const viewer = document.querySelector("[data-viewer]");
  if (zooming) {
    const [small, large] = [zooming.querySelector("img"), viewer.querySelector("img")];
    large.src = small.src;
    large.alt = small.alt;
    viewer.showModal();
  } else if (event.target.closest("[data-viewer]")) viewer.close();
});

document.addEventListener("keydown", (event) => {
  const writing = event.target.closest("input, textarea, select");
  if (event.key === "/" && !writing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    document.querySelector(".find input").focus();
  }
});

document.addEventListener("change", (event) => {
  const filters = event.target.closest("[data-filters]");
  if (!filters) return;
  // Filters that say nothing do not stand in the address.
  const query = new URLSearchParams([...new FormData(filters)].filter(([, value]) => value));
  location.assign(query.size ? `${filters.action}?${query}` : filters.action);
});

let htmx;

/** Puts markup of this yard where a part of the page is. What does that is fetched the first time: reading needs no script. */
export async function swap(place, markup) {
  htmx ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL("htmx.js", import.meta.url);
    script.addEventListener("load", resolve);
    script.addEventListener("error", () => reject(new Error("A script of this page could not be had.")));
    document.head.append(script);
  });
  try {
    await htmx;
  } catch (error) {
    htmx = undefined;
    throw error;
  }
  window.htmx.swap(place, markup, { swapStyle: "innerHTML" });
}

let quietly;

/** Says that the yard is away, once it has been for a moment; or that it is back. */
export function broken(is) {
  const note = document.querySelector("[data-broken]");
  clearTimeout(quietly);
  if (is) quietly = setTimeout(() => (note.hidden = false), STALE_AFTER);
  else note.hidden = true;
}

/** Asks for this page again and puts its live parts where the old ones are. */
async function refresh() {
  const parts = document.querySelectorAll("[data-live]");
  if (document.hidden || !parts.length) return;
  const reply = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!reply.ok) return;
  const fresh = new DOMParser().parseFromString(await reply.text(), "text/html").querySelectorAll("[data-live]");
  for (const [index, part] of parts.entries()) {
    // What the reader holds on to is left alone until they let go.
    if (fresh[index] && !part.contains(document.activeElement)) await swap(part, fresh[index].innerHTML);
  }
  age();
}

function follow() {
  if (!document.querySelector("[data-live]")) return;
  let source;
  let due = false;
  const look = () => {
    if (due) return;
    due = true;
    setTimeout(() => {
      due = false;
      refresh().catch(() => {});
    }, 150);
  };
  const open = () => {
    source = new EventSource("/news");
    source.addEventListener("changed", look);
    source.addEventListener("open", () => broken(false));
    source.addEventListener("error", () => {
      broken(true);
      if (source.readyState === EventSource.CLOSED) setTimeout(open, 2000);
      else source.addEventListener("open", look, { once: true });
    });
  };
  // A page that runs something has a stream of its own, which says more.
  if (!document.querySelector("[data-result]")) open();
  document.addEventListener("visibilitychange", () => document.hidden || look());
  document.addEventListener("yard:moved", look);
}

setInterval(age, 5000);
age();
addEventListener("load", follow);
