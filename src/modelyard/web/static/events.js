// Server-sent events of a reply to any request: EventSource only knows how to GET.

/** Yields `{event, data}`, the data decoded from JSON, as they come. */
export async function* events(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = [];
  let name = "";
  let data = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    // An event may be long and come in many parts: only what ends a line is looked at.
    waiting.push(value);
    if (!value.includes("\n")) continue;
    const lines = waiting.join("").split("\n");
    waiting = [lines.pop()];
    for (const line of lines) {
      if (line.startsWith("event:")) name = line.slice(6).trim();
      else if (line.startsWith("data:")) data.push(line.slice(5));
      else if (line.trim() === "" && data.length) {
        yield { event: name, data: JSON.parse(data.join("\n")) };
        [name, data] = ["", []];
      }
    }
  }
}
