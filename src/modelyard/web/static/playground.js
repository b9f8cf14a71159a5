// The playground of one model: its form, one run at a time, and what comes of it while it comes. Before there is a
// form: what keeps it away.

import { events } from "./events.js";
import { Fields, Wrong } from "./fields.js";
import { SHOWN_ITEMS, made, shown, written } from "./values.js";

const MODEL = "/model";
const LOOK_AGAIN = 1000; // ms between looks at a model that is set up
const TEXT_CHARACTERS = 200000; // of a text, and of logs, that a page shows

const form = document.querySelector("[data-form]");
const at = (name) => document.querySelector(`[data-${name}]`);

if (form) begin();
else wait(at("seen"));

/** Looks again and again until something else is to be shown. */
async function wait(place) {
  const began = performance.now() - Number(place.dataset.seconds) * 1000;
  if (at("clock")) setInterval(() => (at("clock").textContent = `(${Math.round((performance.now() - began) / 1000)} s)`), 500);
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN));
    const seen = await fetch("/state").then((reply) => reply.json()).catch(() => null);
    if (seen && seen.state !== place.dataset.seen) return location.reload();
    if (seen) {
      at("setup-logs").textContent = seen.logs;
      at("setup-logs").hidden = !seen.logs;
    }
  }
}

function begin() {
  const fields = new Fields(form, () => {});
  let run = null;

  const complain = (said) => {
    at("problem").textContent = said;
    at("problem").hidden = !said;
  };

  async function start(event) {
    event?.preventDefault();
    if (run) return;
    await Promise.all(fields.uploads.values());
    if (run) return;
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
    run = new Run(form.dataset.streams === "yes", form.dataset.oneText === "yes");
    at("run-button").disabled = true;
    at("cancel-button").hidden = false;
    if (matchMedia("(max-width: 63.99rem)").matches) at("result").scrollIntoView({ block: "start" });
    try {
      const refused = await run.send(input);
      if (refused) refuse(refused);
    } catch (error) {
      run.broke(error);
    } finally {
      run = null;
      at("run-button").disabled = false;
      at("cancel-button").hidden = true;
    }
  }

  form.addEventListener("submit", start);
  at("cancel-button").addEventListener("click", () => run?.cancel());
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") run?.cancel();
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) start(event);
  });

  /** Errors stand beside their fields; what belongs to none stands above the button. */
  function refuse({ status, answer, text }) {
    const others = [];
    for (const one of Array.isArray(answer?.detail) ? answer.detail : []) {
      const field = (one.loc ?? []).flatMap((name) => String(name).split("/")).map((name) => fields.named(name)).find(Boolean);
      if (field) fields.complain(field, one.msg);
      else others.push(`${(one.loc ?? []).join(".")}: ${one.msg}`);
    }
    if (others.length || !Array.isArray(answer?.detail)) {
      complain(others.join(" ") || answer?.error || answer?.detail || text || `The model's server answered with ${status}.`);
    }
    const place = document.querySelector("[data-problem]:not([hidden]), [data-wrong]:not([hidden])");
    place?.scrollIntoView({ block: "nearest" });
  }
}

/** One run, and the places that show it. */
class Run {
  constructor(streams, oneText) {
    this.streams = streams;
    this.oneText = oneText;
    this.id = Array.from({ length: 26 }, () => Math.floor(Math.random() * 36).toString(36)).join("");
    this.began = performance.now();
    this.items = 0;
    this.pieces = [];
    this.lines = [];
    this.metrics = {};
    this.#clear();
    at("status").className = "state running";
    at("status").textContent = "running";
    at("output").append(made("p", "quiet", `Running…, the output comes ${streams ? "as the model makes it" : "at the end"}.`));
    this.clock = setInterval(() => (at("clock").textContent = `${((performance.now() - this.began) / 1000).toFixed(1)} s`), 100);
  }

  #clear() {
    at("output").querySelectorAll("a[href^='blob:']").forEach((link) => URL.revokeObjectURL(link.href));
    for (const name of ["output", "logs", "reply", "metrics"]) at(name).replaceChildren();
    for (const name of ["failure", "logs-box", "reply-box", "metrics-box"]) at(name).hidden = true;
    at("clock").textContent = "";
  }

  /** Runs it to its end; gives the answer of a server that would not. Throws where the server leaves. */
  async send(input) {
    const headers = { "content-type": "application/json" };
    if (this.streams) headers.accept = "text/event-stream";
    const reply = await fetch(`${MODEL}/predictions/${this.id}`, { method: "PUT", headers, body: JSON.stringify({ input }) });
    if (reply.ok && reply.headers.get("content-type")?.startsWith("text/event-stream")) {
      await this.#follow(reply);
      return null;
    }
    const text = await reply.text();
    let answer = null;
    try {
      answer = JSON.parse(text);
    } catch {
      // Some answers are plain words.
    }
    if (reply.ok && answer) {
      this.#end(answer);
      return null;
    }
    this.#stop("", "");
    this.#clear();
    at("output").append(made("p", "quiet", "It was not run."));
    return { status: reply.status, answer, text };
  }

  async #follow(reply) {
    for await (const { event, data } of events(reply)) {
      if (event === "output") this.pieces.push(data.chunk);
      else if (event === "log") this.lines.push(data.data);
      else if (event === "metric") this.#measure(data);
      else if (event === "completed") return this.#end(data);
      else if (event === "error") throw new Error(data.error);
      this.#soon();
    }
    throw new Error("The model's server ended the reply before the model ended.");
  }

  #measure({ name, value, mode }) {
    const had = this.metrics[name];
    if (mode === "increment") this.metrics[name] = (had ?? 0) + value;
    else if (mode === "append") this.metrics[name] = [...(had ?? []), value];
    else this.metrics[name] = value;
  }

  /** Many pieces that come together are laid out together. */
  #soon() {
    this.frame ||= requestAnimationFrame(() => this.#write());
  }

  #write() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const body = at("output").parentElement;
    const [follow, followLogs] = [body, at("logs")].map((box) => box.scrollHeight - box.scrollTop - box.clientHeight < 60);
    if (this.pieces.length) this.#append(this.pieces.splice(0));
    if (follow) body.scrollTop = body.scrollHeight;
    if (this.lines.length) this.#log(this.lines.splice(0).join(""), followLogs);
    this.#facts(this.metrics);
  }

  #append(pieces) {
    const place = at("output");
    if (!this.items) place.replaceChildren();
    if (this.oneText && pieces.every((one) => typeof one === "string")) {
      this.prose ??= place.appendChild(made("div", "prose")).appendChild(new Text());
      this.prose.appendData(pieces.join("").slice(0, Math.max(0, TEXT_CHARACTERS - this.prose.length)));
    } else {
      const fitting = pieces.slice(0, Math.max(0, SHOWN_ITEMS - this.items));
      fitting.forEach((piece, index) => place.append(...shown(piece, { name: `output-${this.items + index}` })));
    }
    this.items += pieces.length;
  }

  #log(text, follow) {
    const place = at("logs");
    if (at("logs-box").hidden) at("logs-box").open = true;
    at("logs-box").hidden = false;
    place.textContent = (place.textContent + text).slice(-TEXT_CHARACTERS);
    if (follow) place.scrollTop = place.scrollHeight;
  }

  #facts(metrics) {
    const said = Object.entries(metrics).filter(([, value]) => value != null);
    const facts = said.map(([name, value]) => made("span", "", `${name} `, made("b", "number", fact(value))));
    at("metrics").replaceChildren(...facts);
    at("metrics-box").hidden = !facts.length;
  }

  /** The whole state at the end. What is not in it, as in that of a canceled one, stays as it came. */
  #end(answer) {
    this.#write();
    const took = answer.metrics?.predict_time ?? (performance.now() - this.began) / 1000;
    this.#stop(answer.status, `${took.toFixed(2)} s`);
    this.#fail(answer.error);
    const place = at("output");
    const isThere = Array.isArray(answer.output) && answer.output.length === this.items && (this.prose || this.items <= SHOWN_ITEMS);
    if (answer.output != null && !isThere) place.replaceChildren(...shown(answer.output, { oneText: this.oneText }));
    else if (!this.items && answer.output == null) place.replaceChildren(made("p", "quiet", answer.error ? "" : "No output."));
    if (answer.logs) {
      at("logs").textContent = answer.logs.slice(-TEXT_CHARACTERS);
      at("logs-box").hidden = false;
      if (answer.error) at("logs-box").open = true;
    }
    this.#facts({ ...this.metrics, ...answer.metrics });
    at("reply").textContent = written(answer);
    at("reply-box").hidden = false;
  }

  /** It ended without an end. */
  broke(error) {
    this.#write();
    this.#stop("failed", "");
    this.#fail(error instanceof TypeError ? "The model's server does not answer." : error.message);
    if (!this.items) at("output").replaceChildren();
  }

  #fail(said) {
    at("failure").textContent = said ?? "";
    at("failure").hidden = !said;
  }

  #stop(status, clock) {
    clearInterval(this.clock);
    const shapes = { succeeded: "done", failed: "failed", canceled: "stopped" };
    at("status").className = status ? `state ${shapes[status] ?? "stopped"}` : "";
    at("status").textContent = status;
    at("clock").textContent = clock;
  }

  cancel() {
    at("status").textContent = "stopping";
    // Where it has ended meanwhile, its end is on the way.
    fetch(`${MODEL}/predictions/${this.id}/cancel`, { method: "POST" }).catch(() => {});
  }
}

function fact(value) {
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
  return typeof value === "string" ? value : JSON.stringify(value);
}
