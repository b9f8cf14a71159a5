// The playground of one model: its form, one run at a time, and what comes of it.

import { Fields, Wrong } from "./fields.js";

const MODEL = "/model";
const SHOWN_CHARACTERS = 200000; // of a text; the rest is in the reply

const form = document.querySelector("[data-form]");
const at = (name) => document.querySelector(`[data-${name}]`);

if (form) begin();

function begin() {
  const fields = new Fields(form, () => {});
  let id = null;

  const running = (is) => {
    at("run-button").hidden = is;
    at("cancel-button").hidden = !is;
  };
  const complain = (said) => {
    at("problem").textContent = said;
    at("problem").hidden = !said;
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (id) return;
    await Promise.all(fields.uploads.values());
    complain("");
    fields.clear();
    let input;
    try {
      input = fields.values();
    } catch (error) {
      if (!(error instanceof Wrong)) throw error;
      fields.complain(error.field, error.message);
      return;
    }
    id = Array.from({ length: 26 }, () => Math.floor(Math.random() * 36).toString(36)).join("");
    running(true);
    at("status").textContent = "running";
    const began = performance.now();
    try {
      const reply = await fetch(`${MODEL}/predictions/${id}`, {
        method: "PUT",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ input }),
      });
      const text = await reply.text();
      let answer = null;
      try {
        answer = JSON.parse(text);
      } catch {
        // Some answers are plain words.
      }
      if (reply.ok && answer) show(answer, (performance.now() - began) / 1000);
      else refuse(reply.status, answer, text);
    } catch {
      at("status").textContent = "";
      complain("The model's server does not answer.");
    } finally {
      id = null;
      running(false);
    }
  });

  at("cancel-button").addEventListener("click", () => id && fetch(`${MODEL}/predictions/${id}/cancel`, { method: "POST" }));

  /** Errors stand beside their fields; what belongs to none stands above the button. */
  function refuse(status, answer, text) {
    at("status").textContent = "";
    const others = [];
    for (const one of Array.isArray(answer?.detail) ? answer.detail : []) {
      const field = (one.loc ?? []).map((name) => fields.named(String(name))).find(Boolean);
      if (field) fields.complain(field, one.msg);
      else others.push(`${(one.loc ?? []).join(".")}: ${one.msg}`);
    }
    if (others.length || !Array.isArray(answer?.detail)) {
      complain(others.join(" ") || answer?.error || answer?.detail || text || `The model's server answered with ${status}.`);
    }
  }
}

function show(answer, seconds) {
  const took = answer.metrics?.predict_time ?? seconds;
  at("status").textContent = `${answer.status}, ${took.toFixed(2)} s`;
  const place = at("output");
  place.replaceChildren();
  if (answer.error) place.append(made("p", "failure", answer.error));
  if (answer.output != null) place.append(...shown(answer.output));
  else if (!answer.error) place.append(made("p", "quiet", "No output."));
  at("logs").textContent = answer.logs ?? "";
  at("logs-box").hidden = !answer.logs;
  at("reply").textContent = JSON.stringify(answer, null, 2).slice(0, SHOWN_CHARACTERS);
  at("reply-box").hidden = false;
}

function made(tag, name, text) {
  const element = document.createElement(tag);
  element.className = name;
  element.textContent = text;
  return element;
}

/** An output as elements: pieces of text as one text, files as what they are. */
function shown(output) {
  if (Array.isArray(output) && output.length && output.every((one) => typeof one === "string" && !address(one))) {
    return [made("pre", "mono", output.join("").slice(0, SHOWN_CHARACTERS))];
  }
  if (Array.isArray(output) && output.some((one) => typeof one === "string" && address(one))) return output.flatMap(shown);
  if (typeof output === "string") return [address(output) ? file(output) : made("pre", "mono", output.slice(0, SHOWN_CHARACTERS))];
  return [made("pre", "mono", JSON.stringify(output, null, 2).slice(0, SHOWN_CHARACTERS))];
}

const address = (text) => /^(data:[\w/+.-]+[;,]|https?:\/\/\S+$)/.test(text);

function file(text) {
  const kind = /^data:(image|video|audio)\/(?!svg)/.exec(text)?.[1];
  if (!kind) {
    const link = made("a", "button", text.startsWith("data:") ? "Save the file" : text);
    link.href = text;
    link.rel = "noreferrer";
    if (text.startsWith("data:")) link.download = "output";
    else link.target = "_blank";
    return link;
  }
  const element = document.createElement(kind === "image" ? "img" : kind);
  element.src = text;
  if (kind === "image") element.alt = "The output of the model";
  else element.controls = true;
  return element;
}
