// What comes of a prediction, while it comes: its state, its text, its logs; then the page's own words for the end.

import { Away, part, request } from "./api.js";
import { broken } from "./site.js";

const TEXT_CHARACTERS = 200000; // that a page shows of an output; the server cuts there too
const LOG_CHARACTERS = 50000; // of logs while they come; at the end the page has more
const BLOCK_CHARACTERS = 4000; // of text that is laid out as one
const ASK_AGAIN = 1500; // ms, where the yard did not answer
const LOOK_AGAIN = 700; // ms between looks at an output that is not text

const duration = (seconds) => (seconds < 10 ? `${seconds.toFixed(1)} s` : seconds < 60 ? `${Math.round(seconds)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`);

export class Result {
  constructor(place, onEnd = () => {}) {
    this.place = place;
    this.onEnd = onEnd;
    this.source = null;
    this.frame = 0;
    place.addEventListener("click", (event) => this.#click(event));
    this.begin();
  }

  /** The id of the prediction that is shown, if it runs. */
  get running() {
    return this.source ? this.id : null;
  }

  /** Shows another prediction. Throws Refused, Away. */
  async show(id, query = "") {
    this.close();
    const fresh = document.createElement("template");
    fresh.innerHTML = await part(`/p/${id}/result${query}`);
    // A text that is here already stays: laying it out again would be felt.
    const [had, has] = [this.place, fresh.content].map((where) => where.querySelector("[data-prose]"));
    if (id === this.id && had && has && had.dataset.total === has.dataset.total) has.replaceWith(had);
    this.place.replaceChildren(fresh.content);
    this.begin();
  }

  /** Follows what the page holds, if that still runs. */
  begin() {
    const head = this.place.querySelector("[data-run]");
    if (!head) return;
    this.id = head.dataset.run;
    this.isText = head.dataset.text === "yes";
    this.iterates = head.dataset.iterator === "yes";
    this.skew = Date.now() - Number(head.dataset.now);
    this.created = Number(head.dataset.created);
    this.started = Number(head.dataset.started) || null;
    this.phases = { queued: 0, setup: 0 };
    this.phase = { name: head.dataset.status === "processing" ? "run" : "queued", since: Date.now() - this.skew };
    this.words = this.place.querySelector(".words");
    this.logs = this.place.querySelector("[data-logs]");
    this.text = [];
    this.lines = [];
    this.kept = [];
    this.size = 0;
    if (this.logs?.textContent) this.#keep(this.logs.textContent);
    this.items = Number(head.dataset.after?.split("-")[0] ?? 0);
    this.body = this.place.querySelector(".pane-body");
    this.follow = new Map([this.body, this.logs].filter(Boolean).map((box) => [box, follows(box)]));
    if (this.logs) this.logs.scrollTop = this.logs.scrollHeight;
    if (head.dataset.stream) this.#open(`${head.dataset.stream}?state=1&join=1&after=${head.dataset.after}`);
  }

  close() {
    this.source?.close();
    this.source = null;
    cancelAnimationFrame(this.frame);
    clearInterval(this.clock);
    clearTimeout(this.looking);
    this.looking = 0;
  }

  #open(address) {
    const source = (this.source = new EventSource(address));
    source.addEventListener("open", () => broken(false));
    source.addEventListener("state", (event) => this.#state(JSON.parse(event.data)));
    source.addEventListener("output", (event) => this.#output(event));
    source.addEventListener("logs", (event) => {
      this.lines.push(event.data);
      this.#soon();
    });
    source.addEventListener("done", () => this.#ended());
    source.addEventListener("error", (event) => {
      if (event.data !== undefined) return; // the prediction's own failure; `done` follows
      broken(true);
      if (source.readyState === EventSource.CLOSED) {
        // The yard said no, or is away: what it knows of the prediction tells which.
        source.close();
        setTimeout(() => this.source === source && this.show(this.id).then(() => broken(false), () => this.#open(address)), ASK_AGAIN);
      }
    });
    this.clock = setInterval(() => this.#tick(), 100);
  }

  #state({ phase, words }) {
    const now = Date.now() - this.skew;
    if (phase !== this.phase.name) {
      if (this.phase.name in this.phases) this.phases[this.phase.name] += now - this.phase.since;
      this.phase = { name: phase, since: now };
      if (phase === "run") this.started = now;
      const state = this.place.querySelector(".now .state");
      state.className = phase === "run" ? "state running" : "state waiting";
      state.textContent = phase === "run" ? "processing" : "starting";
      document.dispatchEvent(new CustomEvent("yard:moved"));
    }
    this.words.textContent = words;
    this.#tick();
  }

  #tick() {
    const now = Date.now() - this.skew;
    if (this.phase.name === "run") this.words.textContent = `running, ${duration((now - (this.started ?? now)) / 1000)}`;
    const whole = Math.max(1, now - this.created);
    const run = this.phase.name === "run" ? now - this.started : 0;
    const setup = this.phases.setup + (this.phase.name === "setup" ? now - this.phase.since : 0);
    const shares = { queued: Math.max(0, whole - run - setup) / whole, setup: setup / whole, run: run / whole };
    let left = 0;
    for (const name of ["queued", "setup", "run"]) {
      const part = this.place.querySelector(`.bar .${name}`);
      part?.setAttribute("x", `${left * 100}%`);
      part?.setAttribute("width", `${shares[name] * 100}%`);
      left += shares[name];
    }
  }

  #output(event) {
    const number = Number(event.lastEventId.split("-")[0]);
    if (number <= this.items) this.#again();
    this.items = number;
    if (this.isText) {
      this.text.push(event.data);
      this.#soon();
    } else if (!this.looking && this.iterates) {
      this.looking = setTimeout(() => this.#look(), LOOK_AGAIN);
    }
  }

  /** Its worker was lost, and it runs again from nothing. */
  #again() {
    this.text = [];
    this.lines = [];
    this.kept = [];
    this.size = 0;
    const prose = this.place.querySelector("[data-prose]");
    if (prose) {
      prose.replaceChildren();
      prose.dataset.total = "0";
    }
    this.logs?.replaceChildren();
  }

  async #look() {
    const id = this.id;
    const page = new DOMParser().parseFromString(await part(`/p/${id}/result`).catch(() => ""), "text/html");
    this.looking = 0;
    const fresh = page.querySelector("[data-output]");
    if (fresh && this.source && id === this.id) this.place.querySelector("[data-output]").replaceChildren(...fresh.childNodes);
  }

  #soon() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.#write();
    });
  }

  /** Everything that came since the last picture, at once. */
  #write() {
    const prose = this.text.length && this.place.querySelector("[data-prose]");
    if (prose) {
      const before = Number(prose.dataset.total);
      const piece = this.text.splice(0).join("");
      prose.dataset.total = String(before + piece.length);
      append(prose, piece.slice(0, Math.max(0, TEXT_CHARACTERS - before)));
      if (before + piece.length > TEXT_CHARACTERS) this.#cut(prose);
      if (this.follow.get(this.body)()) this.body.scrollTop = this.body.scrollHeight;
    }
    if (this.lines.length && this.logs) {
      const follow = this.follow.get(this.logs)();
      this.lines.splice(0).forEach((piece) => this.#keep(piece));
      this.logs.textContent = this.kept.join("");
      if (follow) this.logs.scrollTop = this.logs.scrollHeight;
    }
  }

  /** Keeps the end of the logs, and says where the beginning is. */
  #keep(piece) {
    this.kept.push(piece.slice(-LOG_CHARACTERS));
    this.size += Math.min(piece.length, LOG_CHARACTERS);
    while (this.size - this.kept[0].length >= LOG_CHARACTERS) {
      this.size -= this.kept.shift().length;
      this.place.querySelector("[data-log-cut]").hidden = false;
    }
  }

  #cut(prose) {
    const note = prose.parentElement.querySelector("[data-cut]") ?? prose.parentElement.appendChild(document.createElement("p"));
    note.className = "note";
    note.dataset.cut = "";
    const total = Number(prose.dataset.total).toLocaleString("en");
    note.textContent = `The first ${TEXT_CHARACTERS.toLocaleString("en")} characters of ${total} are shown; all can be downloaded at the end.`;
  }

  async #ended() {
    this.#write();
    const id = this.id;
    this.close();
    broken(false);
    const scrolled = this.body.scrollTop;
    // The yard does not keep how long the start took, and this page saw it.
    const bar = this.place.querySelector(".bar svg");
    const started = parseFloat(bar.querySelector(".setup").getAttribute("width")) > 0;
    try {
      await this.#shown(id);
      if (this.id !== id) return;
      if (started) this.place.querySelector(".bar svg").replaceWith(bar);
      this.body.scrollTop = scrolled;
    } catch (error) {
      this.words.textContent = error.message;
    }
    this.onEnd();
    document.dispatchEvent(new CustomEvent("yard:moved"));
  }

  /** Shows it as soon as the yard answers, unless another is shown by then. Throws Refused. */
  async #shown(id) {
    while (this.id === id) {
      try {
        await this.show(id);
        return broken(false);
      } catch (error) {
        if (!(error instanceof Away)) throw error;
        broken(true);
        await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN));
      }
    }
  }

  cancel() {
    if (!this.running) return;
    this.words.textContent = "stopping";
    request("POST", `/v1/predictions/${this.id}/cancel`).catch((error) => (this.words.textContent = error.message));
  }

  #click(event) {
    if (event.target.closest("[data-cancel]")) this.cancel();
    const more = event.target.closest("[data-more]");
    if (more) {
      event.preventDefault();
      this.show(this.id, `?items=${more.dataset.more}`).catch(() => {});
    }
  }
}

/** Tells whether the reader of a box looks at its end. */
function follows(box) {
  return () => box.scrollHeight - box.scrollTop - box.clientHeight < 60;
}

/** Adds to a text so that only its last part is laid out again. */
function append(prose, piece) {
  let rest = piece;
  while (rest) {
    let block = prose.lastElementChild;
    if (!block || (block.textContent.length > BLOCK_CHARACTERS && block.dataset.full)) {
      if (!block && prose.firstChild) {
        const first = document.createElement("span");
        first.append(...prose.childNodes);
        prose.append(first);
      }
      block = prose.appendChild(document.createElement("span"));
    }
    const room = BLOCK_CHARACTERS - block.textContent.length;
    // A block ends where a line ends, so that nobody sees where.
    const end = room < 0 ? rest.indexOf("\n") : rest.length > room ? rest.indexOf("\n", room) : -1;
    if (end < 0) {
      block.append(rest);
      return;
    }
    block.append(rest.slice(0, end));
    block.dataset.full = "yes";
    // The line's end is left out, as the blocks of a page leave it out; what comes next begins below it.
    prose.append(document.createElement("span"));
    rest = rest.slice(end + 1);
  }
}
