// The collector's English line, with the names in it made bold.

import { el } from "./dom.js";
import { visible } from "./text.js";

// Each kind's names, in their order in the line, and the word that stands before each.
const NAMES = {
  decision: [["", "visitor"], ["variation ", "variation"], ["experiment ", "experiment"], ["flag ", "flag"]],
  conversion: [["", "visitor"], ['"', "key"]],
  invalid: [],
};

/** The nodes of an event's line. A name that is not found where it should be is left as it is. */
export function sentence(item) {
  const nodes = [];
  let from = 0;
  for (const [before, field] of NAMES[item.kind] ?? []) {
    const at = find(item.line, before, item[field], from);
    if (at < 0) continue;
    const end = at + item[field].length;
    nodes.push(visible(item.line.slice(from, at)), bold(item.line.slice(at, end)));
    from = end;
  }
  return [...nodes, visible(item.line.slice(from))];
}

function find(line, before, name, from) {
  if (!name) return -1;
  const at = line.indexOf(before + name, from);
  return at < 0 ? -1 : at + before.length;
}

// Text that runs from right to left must not turn its neighbours around.
function bold(name) {
  return el("b", {}, el("bdi", {}, visible(name)));
}
