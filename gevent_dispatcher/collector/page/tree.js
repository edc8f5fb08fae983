// JSON to look into: objects and lists that open and close, long values that show all when asked.

import { el } from "./dom.js";
import { clamp, count, counted, visible } from "./text.js";

// A value longer than this, in characters, is shown in part.
const LONG = 240;
const LONG_KEY = 120;
// So many entries of one object or list at a time.
const PAGE = 100;
// What is opened from the beginning: so many lines, and so deep.
const LINES = 160;
const DEPTH = 7;

/** A number that would not be written again as it came, such as 1.0 or one of twenty digits. */
class Exact {
  constructor(source) {
    this.source = source;
  }
}

/** JSON text as values, every number as it was written, where the browser can tell. */
export function parse(text) {
  return JSON.parse(text, (_, value, context) => {
    const source = context?.source;
    return typeof value === "number" && source !== undefined && source !== String(value) ? new Exact(source) : value;
  });
}

/** Values as JSON text, indented. */
export function print(value, indent = "") {
  if (!isBranch(value)) return scalar(value);
  const deeper = indent + "  ";
  const entries = entriesOf(value).map(([key, each]) => deeper + name(key) + print(each, deeper));
  const [open, close] = brackets(value);
  return entries.length ? `${open}\n${entries.join(",\n")}\n${indent}${close}` : open + close;
}

/** An element that shows values. */
export function tree(value) {
  const budget = { lines: LINES };
  const root = el("div", { class: "tree" });
  if (isBranch(value)) root.append(...lines(value, 1, budget));
  else root.append(leaf(null, value));
  return root;
}

/** Text that shows all of itself when asked. */
export function longText(text, attributes = {}, limit = LONG) {
  const shown = el("bdi", attributes, visible(clamp(text, limit)));
  if (text.length <= limit) return shown;
  const more = el("button", { type: "button", class: "more" }, `Show all ${count(text.length)} characters`);
  more.addEventListener("click", () => {
    shown.textContent = visible(text);
    shown.tabIndex = -1;
    shown.focus(); // it stays where the button was
    more.remove();
  });
  return el("span", {}, shown, " ", more);
}

function lines(value, depth, budget) {
  return page(entriesOf(value), 0, depth, budget);
}

function page(entries, from, depth, budget) {
  const shown = entries.slice(from, from + PAGE).map(([key, each]) => line(key, each, depth, budget));
  const left = entries.length - from - shown.length;
  if (left <= 0) return shown;
  const words = `Show ${count(Math.min(left, PAGE))} more of ${count(entries.length)}`;
  const more = el("button", { type: "button", class: "more" }, words);
  more.addEventListener("click", () => {
    const next = page(entries, from + PAGE, depth, { lines: LINES });
    more.replaceWith(...next);
    next[0].tabIndex = -1;
    next[0].focus();
  });
  return [...shown, more];
}

function line(key, value, depth, budget) {
  budget.lines -= 1;
  return isBranch(value) && entriesOf(value).length ? branch(key, value, depth, budget) : leaf(key, value);
}

function leaf(key, value) {
  const text = isBranch(value) ? brackets(value).join("") : scalar(value);
  const kind = isBranch(value) ? "empty" : kindOf(value);
  return el("div", { class: "leaf" }, ...label(key), longText(text, { class: kind }));
}

// The lines within are made when they are first looked at.
function branch(key, value, depth, budget) {
  const within = el("div", { class: "within" });
  const details = el(
    "details",
    {},
    el("summary", {}, ...label(key), el("span", { class: "preview" }, preview(value))),
    within,
  );
  const fill = (left) => { if (!within.hasChildNodes()) within.append(...lines(value, depth + 1, left)); };
  if (depth <= DEPTH && budget.lines > entriesOf(value).length) {
    details.open = true;
    fill(budget);
  }
  details.addEventListener("toggle", () => { if (details.open) fill({ lines: LINES }); });
  return details;
}

function label(key) {
  if (key === null) return [];
  const named = typeof key === "number" ? { class: "index" } : { class: "key" };
  const shown = el("span", named, el("bdi", {}, visible(clamp(String(key), LONG_KEY))));
  return [shown, el("span", { class: "colon" }, ": ")];
}

function preview(value) {
  const { length } = entriesOf(value);
  return Array.isArray(value) ? `[ ${counted(length, "item")} ]` : `{ ${counted(length, "field")} }`;
}

function isBranch(value) {
  return typeof value === "object" && value !== null && !(value instanceof Exact);
}

function entriesOf(value) {
  return Array.isArray(value) ? value.map((each, index) => [index, each]) : Object.entries(value);
}

function brackets(value) {
  return Array.isArray(value) ? ["[", "]"] : ["{", "}"];
}

function name(key) {
  return typeof key === "number" ? "" : `${JSON.stringify(key)}: `;
}

function scalar(value) {
  return value instanceof Exact ? value.source : JSON.stringify(value);
}

function kindOf(value) {
  if (value instanceof Exact) return "number";
  return value === null ? "null" : typeof value;
}
