// The collector's English line, with the names in it made bold.

import { el } from "./dom.js";
import { visible } from "./text.js";

// Each kind's names in the order that they have in the line, and the words that may stand before each.
const NAMES = {
  decision: [
    ["visitor", [""]],
    ["variation", [" variation "]],
    ["experiment", [" experiment ", " rollout ", " holdout "]],
    ["flag", [" flag "]],
  ],
  conversion: [["visitor", [""]], ["key", [' "']]],
  invalid: [["visitor", [""]]],
};
// The collector cuts longer names off in its lines, at so many characters.
const LONGEST = 100;

/** The nodes of an event's line. A name that is not where it should be is left as it is. */
export function sentence(item) {
  const nodes = [];
  let from = 0;
  for (const [field, words] of NAMES[item.kind] ?? []) {
    const name = asInLine(item[field]);
    const at = place(item.line, words, name, from);
    if (at < 0) continue;
    nodes.push(visible(item.line.slice(from, at)), bold(name));
    from = at + name.length;
  }
  return [...nodes, visible(item.line.slice(from))];
}

function asInLine(name) {
  if (!name || name.length <= LONGEST) return name;
  const characters = [...name];
  return characters.length > LONGEST ? characters.slice(0, LONGEST - 1).join("") + "…" : name;
}

function place(line, words, name, from) {
  if (!name) return -1;
  for (const word of words) {
    const at = line.indexOf(word + name, from);
    if (at === from || (at > from && word)) return at + word.length;
  }
  return -1;
}

// Text that runs from right to left must not turn its neighbours around.
function bold(name) {
  return el("b", {}, el("bdi", {}, visible(name)));
}
