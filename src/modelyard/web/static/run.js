// A model's page: the form and what comes of it, as one.

import { part, request } from "./api.js";
import { Fields } from "./fields.js";
import { Result } from "./result.js";
import { swap } from "./site.js";

const SHOWN = "prediction-id";
const ADDRESS_CHARACTERS = 2000; // longer inputs do not stand in the address
const COUNTED_AFTER = 1200; // ms until the yard has counted a run: it does so once a second

const form = document.querySelector("[data-form]");
const place = document.querySelector("[data-result]");
const result = new Result(place, () => running(false));

if (form) begin();
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) result.cancel();
});

function running(is) {
  form?.querySelector("[data-run-button]")?.toggleAttribute("hidden", is);
  form?.querySelector("[data-cancel-button]")?.toggleAttribute("hidden", !is);
}

function begin() {
  const { model, version } = form.dataset;
  const problem = form.querySelector("[data-problem]");
  const panels = { form: form.querySelector('[data-panel="form"]'), code: form.querySelector('[data-panel="code"]') };
  let view = "form";
  let later;
  const fields = new Fields(form, () => {
    clearTimeout(later);
    later = setTimeout(() => history.replaceState(history.state, "", address(null)), 300);
  });

  /** Where this page is with these inputs, and showing this prediction. */
  function address(id) {
    const query = new URLSearchParams();
    const given = new URLSearchParams(location.search);
    if (given.has("version")) query.set("version", given.get("version"));
    if (id) query.set(SHOWN, id);
    else {
      let values = {};
      try {
        values = fields.values();
      } catch {
        // What cannot be read does not stand in the address.
      }
      for (const [name, value] of Object.entries(values)) {
        const field = fields.named(name);
        if (field.dataset.control === "secret") continue;
        const text = typeof value === "string" && field.dataset.control !== "json" ? value : JSON.stringify(value);
        if (text.length < ADDRESS_CHARACTERS) query.set(name, text);
      }
      if (String(query).length > ADDRESS_CHARACTERS * 2) return location.pathname;
    }
    return query.size ? `${location.pathname}?${query}` : location.pathname;
  }

  function complain(said) {
    problem.textContent = said;
    problem.hidden = !said;
  }

  /** The inputs, from whichever view holds them; null after saying what is wrong. */
  function inputs() {
    complain("");
    fields.clear();
    const edited = view === "json" && panels.code.querySelector("[data-json]");
    try {
      if (!edited) return fields.values();
      const values = JSON.parse(edited.value);
      if (values === null || typeof values !== "object" || Array.isArray(values)) throw new Error("an object is wanted");
      return values;
    } catch (error) {
      if (error.field) {
        fields.complain(error.field, error.message);
        error.field.querySelector(".input")?.focus();
      } else complain(`The input is not JSON: ${error.message}`);
      return null;
    }
  }

  async function run(event) {
    event?.preventDefault();
    if (result.running || form.dataset.mayRun !== "yes") return;
    await Promise.all(fields.uploads.values());
    const input = inputs();
    if (!input) return;
    clearTimeout(later);
    running(true);
    try {
      const made = await request("POST", "/v1/predictions", { version: `${model}:${version}`, input });
      history.pushState({ id: made.id }, "", address(made.id));
      setTimeout(() => document.dispatchEvent(new CustomEvent("yard:moved")), COUNTED_AFTER);
      await result.show(made.id);
      running(Boolean(result.running));
      if (matchMedia("(max-width: 63.99rem)").matches) place.scrollIntoView({ block: "start" });
    } catch (error) {
      running(false);
      refused(error);
    }
  }

  /** Errors stand beside their fields; what belongs to none stands above the button. */
  function refused(error) {
    const others = [];
    let first = null;
    for (const { field, description } of error.fields ?? []) {
      const named = /^(.+) is required$/.exec(description);
      const found = fields.named(field.replace(/^input\./, "").split(".")[0]) ?? (named && fields.named(named[1]));
      if (found) fields.complain(found, description);
      else others.push(description);
      first ??= found;
    }
    if (first) {
      show("form");
      first.querySelector(".input, input")?.focus();
    }
    if (others.length || !error.fields?.length) complain(others.join(" ") || error.message);
  }

  async function show(name) {
    if (name === view) return;
    const input = inputs();
    if (!input) return;
    if (view === "json") fields.fill(input);
    if (name !== "form") {
      try {
        const markup = await part(`/${model}/code?version=${version}`, { method: "POST", body: JSON.stringify(input) });
        await swap(panels.code, markup);
      } catch (error) {
        return complain(error.message);
      }
      panels.code.querySelectorAll("[data-sample]").forEach((sample) => (sample.hidden = sample.dataset.sample !== name));
    }
    view = name;
    panels.form.hidden = name !== "form";
    panels.code.hidden = name === "form";
    form.querySelectorAll("[data-view]").forEach((button) => button.setAttribute("aria-selected", String(button.dataset.view === name)));
  }

  form.addEventListener("submit", run);
  form.querySelector("[data-views]").addEventListener("click", (event) => {
    const button = event.target.closest("[data-view]");
    if (button) show(button.dataset.view);
  });
  form.querySelector("[data-cancel-button]")?.addEventListener("click", () => result.cancel());
  form.querySelector("[data-reset]")?.addEventListener("click", () => {
    fields.fill({});
    fields.clear();
    complain("");
    history.replaceState(history.state, "", location.pathname);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run(event);
  });
  // Back and forward go from run to run; the page of each is the server's.
  addEventListener("popstate", () => location.reload());
  running(Boolean(result.running));
}
