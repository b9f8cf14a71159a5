// The yard's API, asked by a page of it.

export class Refused extends Error {
  constructor(status, problem) {
    super(sentences(problem.detail, problem.hint) || `The yard answered with ${status}.`);
    this.status = status;
    this.fields = problem.invalid_fields ?? [];
  }
}

/** What was said and the next step as one text. */
function sentences(said, hint) {
  const parts = [said, hint].filter(Boolean);
  return parts.length < 2 ? parts[0] : parts.map((part) => (/[.!?:…]$/.test(part) ? part : `${part}.`)).join(" ");
}

export class Away extends Error {
  constructor() {
    super("The yard does not answer.");
  }
}

/** Sends JSON or a form; gives the decoded answer. Throws Refused, Away. */
export function request(method, path, body, progress) {
  // Not fetch: only this tells how much of a file has left.
  return new Promise((resolve, reject) => {
    const sent = new XMLHttpRequest();
    sent.open(method, path);
    sent.setRequestHeader("accept", "application/json");
    if (progress) sent.upload.addEventListener("progress", (event) => event.lengthComputable && progress(event.loaded / event.total));
    sent.addEventListener("error", () => reject(new Away()));
    sent.addEventListener("load", () => {
      let answer = {};
      try {
        answer = sent.responseText ? JSON.parse(sent.responseText) : {};
      } catch {
        answer = { detail: sent.responseText.slice(0, 300) };
      }
      if (sent.status < 400) resolve(answer);
      else reject(new Refused(sent.status, answer));
    });
    if (body === undefined || body instanceof FormData) sent.send(body);
    else {
      sent.setRequestHeader("content-type", "application/json");
      sent.send(JSON.stringify(body));
    }
  });
}

/** A part of a page as markup. Throws Refused, Away. */
export async function part(path, options) {
  let reply;
  try {
    reply = await fetch(path, options);
  } catch {
    throw new Away();
  }
  if (!reply.ok) throw new Refused(reply.status, { detail: "This part of the page could not be had." });
  return reply.text();
}
