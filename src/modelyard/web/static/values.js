// A value as elements: text, pictures, sound, films, files, and objects with any of these inside.

import { size } from "./fields.js";

const SHOWN_CHARACTERS = 200000; // of a text; the rest is in the reply
export const SHOWN_ITEMS = 300; // of a list
const ENDINGS = { jpeg: "jpg", plain: "txt", "svg+xml": "svg", mpeg: "mp3", "x-wav": "wav", quicktime: "mov", "octet-stream": "bin" };

const DATA = /^data:([\w/+.-]+)((?:;[\w=.+-]+)*),/;

const isFile = (value) => typeof value === "string" && (DATA.test(value.slice(0, 300)) || /^https?:\/\/\S+$/.test(value));

const holdsFiles = (value) =>
  isFile(value) || (value !== null && typeof value === "object" && Object.values(value).some(holdsFiles));

export function made(tag, name, ...inside) {
  const element = document.createElement(tag);
  element.className = name;
  element.append(...inside);
  return element;
}

/** An output as elements. `oneText`: its pieces are one text. */
export function shown(output, { oneText = false, name = "output" } = {}) {
  if (oneText && Array.isArray(output) && output.every((one) => typeof one === "string")) return [text(output.join(""))];
  if (isFile(output)) return [file(output, name)];
  if (typeof output === "string") return [text(output)];
  const isTexts = Array.isArray(output) && output.length > 0 && output.every((one) => typeof one === "string");
  if (!isTexts && !holdsFiles(output)) return [made("pre", "mono", cut(JSON.stringify(output, null, 2)))];
  if (Array.isArray(output)) return list(output, name);
  const pairs = Object.entries(output).map(([key, value]) => [made("dt", "", key), made("dd", "stack", ...shown(value, { name: key }))]);
  return [made("dl", "pairs", ...pairs.flat())];
}

function list(values, name) {
  const elements = values.slice(0, SHOWN_ITEMS).flatMap((value, index) => shown(value, { name: `${name}-${index}` }));
  if (values.length > SHOWN_ITEMS) elements.push(made("p", "note", `${SHOWN_ITEMS} of ${values.length} are shown.`));
  return elements;
}

const text = (value) => made("div", "prose", cut(value));

const cut = (value) => (value.length > SHOWN_CHARACTERS ? `${value.slice(0, SHOWN_CHARACTERS)}…` : value);

/** A picture, sound, film as itself; all else as a link that saves it. */
function file(address, name) {
  const [head, type, more] = DATA.exec(address.slice(0, 300)) ?? [];
  if (!head) {
    const link = made("a", "", address);
    Object.assign(link, { href: address, rel: "noreferrer", target: "_blank" });
    return link;
  }
  const kind = /^(image|video|audio)\/(?!svg)/.exec(type)?.[1];
  if (!kind) {
    const bytes = decoded(address.slice(head.length), more.includes(";base64"));
    return bytes ? saved(bytes, type, name) : text(address);
  }
  const element = document.createElement(kind === "image" ? "img" : kind);
  element.src = address;
  if (kind === "image") element.alt = name === "output" ? "The output of the model" : name;
  else element.controls = true;
  return element;
}

/** The bytes of a data URL; null for what only looks like one. */
function decoded(content, isBase64) {
  try {
    return isBase64 ? Uint8Array.from(atob(content), (one) => one.charCodeAt(0)) : new TextEncoder().encode(decodeURIComponent(content));
  } catch {
    return null;
  }
}

function saved(bytes, type, name) {
  const ending = type.split("/")[1];
  const full = `${name}.${ENDINGS[ending] ?? ending}`;
  const link = made("a", "file", made("span", "mono", full), made("span", "quiet", size(bytes.length)), made("span", "", "Save the file"));
  // Not the data URL: browsers refuse to save long ones. Nor its type, so that no browser ever opens it as a page of ours.
  link.href = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
  link.download = full;
  return link;
}

/** A whole reply as JSON, what is in files left out of it. */
export function written(reply) {
  const short = (_, value) => {
    const head = typeof value === "string" && DATA.exec(value.slice(0, 300))?.[0];
    return head && value.length > 200 ? `${head}… (${value.length.toLocaleString("en")} characters)` : value;
  };
  return cut(JSON.stringify(reply, short, 2));
}
