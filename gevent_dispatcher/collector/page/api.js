// The collector's JSON API.

// How long an answer may take, in milliseconds.
const PATIENCE = 15000;

/** The url that events go to. */
export const EVENTS_URL = new URL("v1/events", document.baseURI).href;

/** The answer's text; an answer that is no success throws an Error with the collector's own reason. */
export async function ask(path, body) {
  const request = body === undefined ? {} : posted(body);
  const answer = await fetch(path, { ...request, signal: AbortSignal.timeout(PATIENCE) });
  const text = await answer.text();
  if (!answer.ok) throw new Error(reason(text) ?? `${answer.status} ${answer.statusText}`);
  return text;
}

/** The answer's JSON. */
export async function askJson(path, body) {
  return JSON.parse(await ask(path, body));
}

function posted(body) {
  return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

function reason(text) {
  try {
    return JSON.parse(text).error;
  } catch {
    return undefined;
  }
}
