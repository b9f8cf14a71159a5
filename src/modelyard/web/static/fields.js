// The form as values and back: what stands in its controls, what differs from the defaults, files on their way.

import { request } from "./api.js";

// By their address controls: chosen files that have no address but a data URL, in which there is nothing to read.
const chosen = new WeakMap();

const parse = (text) => JSON.parse(text);

/** The text of an input's value as a control holds it. */
const written = (value) => (value == null ? "" : typeof value === "string" ? value : JSON.stringify(value));

const textOf = (control) => chosen.get(control) ?? control.value;

/** Puts a text into a control, in place of what it had. */
function put(control, text) {
  if (chosen.delete(control)) {
    control.hidden = false;
    control.closest("[data-drop]").querySelector("[data-progress]").textContent = "";
  }
  control.value = text;
}

function choose(control, address) {
  if (!address.startsWith("data:")) return put(control, address);
  put(control, "");
  chosen.set(control, address);
  control.hidden = true;
}

export class Wrong extends Error {
  constructor(field, said) {
    super(said);
    this.field = field;
  }
}

export class Fields {
  constructor(form, changed) {
    this.form = form;
    this.changed = changed;
    this.uploads = new Map();
    this.all = [...form.querySelectorAll("[data-field]")];
    this.all.forEach((field) => this.#watch(field));
    this.mark();
  }

  #watch(field) {
    field.addEventListener("input", (event) => {
      this.#together(field, event.target);
      this.#touched(field);
    });
    field.addEventListener("change", (event) => event.target.matches("[data-file]") && this.#choose(event.target));
    field.addEventListener("click", (event) => {
      if (event.target.closest("[data-back]")) this.set(field, parse(field.dataset.default));
      else if (event.target.closest("[data-add]")) this.#add(field, "").querySelector("input, textarea, select").focus();
      else if (event.target.closest("[data-remove]")) event.target.closest("[data-entry]").remove();
      else return;
      this.#touched(field);
    });
    for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
      field.addEventListener(name, (event) => this.#drag(event, name));
    }
    field.addEventListener("paste", (event) => {
      const files = event.clipboardData?.files;
      const drop = event.target.closest("[data-drop]");
      if (drop && files?.length) {
        event.preventDefault();
        this.#take(field, drop, files);
      }
    });
    field.querySelectorAll("[data-drop]").forEach((drop) => preview(drop));
  }

  #touched(field) {
    this.complain(field, "");
    this.mark();
    this.changed();
  }

  /** A slider and its number are one value. */
  #together(field, target) {
    if (field.dataset.control !== "slider") return;
    const [range, number] = field.querySelectorAll("input");
    if (target === range) number.value = range.value;
    else if (number.value !== "") range.value = number.value;
  }

  #drag(event, name) {
    const drop = event.target.closest?.("[data-drop]");
    const field = event.target.closest("[data-field]");
    if (!field || !(drop || field.dataset.item === "file")) return;
    event.preventDefault();
    drop?.classList.toggle("over", name === "dragenter" || name === "dragover");
    if (name !== "drop") return;
    if (event.dataTransfer.files.length) this.#take(field, drop, event.dataTransfer.files);
  }

  #choose(input) {
    this.#take(input.closest("[data-field]"), input.closest("[data-drop]"), input.files);
  }

  /** Several files for a list make an entry each. */
  #take(field, drop, files) {
    const [first, ...others] = files;
    const places = [drop ?? this.#add(field, "").querySelector("[data-drop]")];
    if (field.dataset.control === "list") {
      for (const _ of others) places.push(this.#add(field, "").querySelector("[data-drop]"));
    }
    [first, ...others].slice(0, places.length).forEach((file, index) => this.#upload(field, places[index], file));
  }

  #upload(field, drop, file) {
    const address = drop.querySelector("[data-address]");
    const told = drop.querySelector("[data-progress]");
    preview(drop, file);
    const body = new FormData();
    body.append("content", file, file.name);
    const sending = request("POST", "/v1/files", body, (share) => {
      told.textContent = `${file.name}: ${Math.round(share * 100)} %`;
    })
      .then((made) => {
        choose(address, made.urls.get);
        told.textContent = `${file.name}, ${size(file.size)}`;
        this.#touched(field);
      })
      .catch((error) => {
        told.textContent = "";
        this.complain(field, `${file.name} could not be sent: ${error.message}`);
      })
      .finally(() => this.uploads.delete(drop));
    this.uploads.set(drop, sending);
  }

  #add(field, text) {
    const entries = field.querySelector("[data-entries]");
    entries.append(field.querySelector("template").content.cloneNode(true));
    const entry = entries.lastElementChild;
    this.#put(entry, text);
    return entry;
  }

  #put(entry, text) {
    const control = entry.querySelector("[data-address], textarea, select, input");
    put(control, control.tagName === "SELECT" && ![...control.options].some((one) => one.value === text) ? JSON.stringify(text) : text);
    const drop = entry.querySelector("[data-drop]");
    if (drop) preview(drop);
  }

  /** Puts a value into a field's controls; null empties it. */
  set(field, value) {
    const control = field.dataset.control;
    if (control === "buttons") {
      field.querySelectorAll("input").forEach((input) => (input.checked = input.value === JSON.stringify(value)));
    } else if (control === "menu") field.querySelector("select").value = value == null ? "" : JSON.stringify(value);
    else if (control === "flag") field.querySelector("input").checked = Boolean(value);
    else if (control === "list") {
      field.querySelector("[data-entries]").replaceChildren();
      for (const one of Array.isArray(value) ? value : []) this.#add(field, written(one));
    } else if (control === "slider") {
      const [range, number] = field.querySelectorAll("input");
      number.value = value ?? "";
      if (value != null) range.value = value;
    } else if (control === "json") field.querySelector("textarea").value = value == null ? "" : JSON.stringify(value, null, 2);
    else {
      put(field.querySelector("textarea, input"), written(value));
      const drop = field.querySelector("[data-drop]");
      if (drop) preview(drop);
    }
  }

  /** A field's value, undefined for none. Throws Wrong. */
  value(field) {
    const { control, word } = field.dataset;
    const number = ({ value: text, validity }, kind) => {
      const read = Number(text);
      if (validity.badInput) throw new Wrong(field, "This is no number.");
      if (text.trim() === "") return undefined;
      if (kind === "integer" && !Number.isInteger(read)) throw new Wrong(field, `A whole number is wanted, not ${text}.`);
      return read;
    };
    if (control === "buttons") {
      const chosen = field.querySelector("input:checked");
      return chosen ? parse(chosen.value) : undefined;
    }
    if (control === "menu") {
      const chosen = field.querySelector("select").value;
      return chosen === "" ? undefined : parse(chosen);
    }
    if (control === "flag") return field.querySelector("input").checked;
    if (control === "number") return number(field.querySelector("input"), word);
    if (control === "slider") return number(field.querySelectorAll("input")[1], word);
    if (control === "list") {
      const { item, itemWord } = field.dataset;
      return [...field.querySelectorAll("[data-entry]")].map((entry) => {
        const inner = entry.querySelector("[data-address], textarea, select, input");
        const text = textOf(inner);
        if (item === "number") return number(inner, itemWord);
        return item === "menu" ? parse(text) : text;
      }).filter((one) => one !== undefined && (one !== "" || item === "menu")); // blank rows are left out
    }
    if (control === "json") {
      const text = field.querySelector("textarea").value;
      if (text.trim() === "") return undefined;
      try {
        return parse(text);
      } catch (error) {
        throw new Wrong(field, `This is not JSON: ${error.message}`);
      }
    }
    const text = textOf(field.querySelector("textarea, input"));
    // Emptied is not the same as never filled.
    return text !== "" || (control === "text" && parse(field.dataset.default)) ? text : undefined;
  }

  /** What is sent: all that differs from the defaults, and what must be given. Throws Wrong. */
  values() {
    const found = {};
    for (const field of this.all) {
      const value = this.value(field);
      const usual = JSON.stringify(value) === field.dataset.default;
      const emptyList = field.dataset.control === "list" && value.length === 0;
      if (value === undefined || (usual && !("required" in field.dataset))) continue;
      if (emptyList && !("required" in field.dataset) && parse(field.dataset.default) == null) continue;
      found[field.dataset.field] = value;
    }
    return found;
  }

  /** Puts all of `values` in, and the defaults where they say nothing. */
  fill(values) {
    for (const field of this.all) this.set(field, values[field.dataset.field] ?? parse(field.dataset.default));
    this.mark();
  }

  /** Shows which fields are not as they were meant. */
  mark() {
    for (const field of this.all) {
      let value;
      try {
        value = this.value(field);
      } catch {
        value = NaN;
      }
      const usual = parse(field.dataset.default);
      const empty = value === undefined || (field.dataset.control === "list" && !value.length && usual == null);
      const plain = field.dataset.control === "flag" && usual == null && value === false;
      field.classList.toggle("changed", !plain && (empty ? usual != null && usual !== "" : JSON.stringify(value) !== JSON.stringify(usual)));
    }
  }

  complain(field, said) {
    const place = field.querySelector("[data-wrong]");
    place.textContent = said;
    place.hidden = !said;
    field.classList.toggle("bad", Boolean(said));
    const control = field.querySelector(".input");
    if (said) control?.setAttribute("aria-invalid", "true");
    else control?.removeAttribute("aria-invalid");
    if (said) field.closest("details")?.setAttribute("open", "");
  }

  named(name) {
    return this.all.find((field) => field.dataset.field === name);
  }

  clear() {
    this.all.forEach((field) => this.complain(field, ""));
  }
}

/** Bytes as the pages say them. */
export function size(count) {
  let value = count;
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (value < 999.95) return unit === "B" ? `${value} B` : `${value.toFixed(1)} ${unit}`;
    value /= 1000;
  }
  return `${value.toFixed(1)} TB`;
}

/** What a file input holds: a picture or a film as itself, all else by its name. */
function preview(drop, file) {
  const place = drop.querySelector("[data-preview]");
  const address = textOf(drop.querySelector("[data-address]"));
  const kind = file?.type ?? (/^data:([\w/+.-]+)/.exec(address)?.[1] || "");
  const shown = /^(image|video|audio)\//.exec(kind)?.[1];
  place.replaceChildren();
  if (!shown || kind.startsWith("image/svg")) return;
  const element = document.createElement(shown === "image" ? "img" : shown);
  element.src = file ? URL.createObjectURL(file) : address;
  if (shown === "image") element.alt = file ? file.name : "";
  else element.controls = true;
  place.append(element);
}
