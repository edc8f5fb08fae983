// One event, opened: what is wrong with it, its names, and the payload as it was sent.

import { ask } from "./api.js";
import { byId, copyButton, el, icon } from "./dom.js";
import { badges } from "./list.js";
import { sentence } from "./sentence.js";
import { count, moment } from "./text.js";
import { longText, parse, print, tree } from "./tree.js";

const TITLES = { decision: "Decision", conversion: "Conversion", invalid: "Not a valid event" };
// The names that may be filtered by.
const NAMES = [
  ["Visitor", "visitor"], ["Event key", "key"], ["Experiment", "experiment"], ["Flag", "flag"],
  ["Variation", "variation"], ["uuid", "uuid"],
];

// Text that is no JSON is shown up to here at first, in characters.
const LONG_TEXT = 2000;

export class Detail {
  #asked = 0; // which question an answer belongs to

  /**
   * @param actions what the buttons do: close(), step(by), filter(text)
   */
  constructor(actions) {
    this.panel = byId("detail");
    this.title = byId("detail-title");
    this.content = byId("detail-content");
    this.actions = actions;
    byId("detail-close").addEventListener("click", () => actions.close());
    byId("detail-newer").addEventListener("click", () => actions.step(-1));
    byId("detail-older").addEventListener("click", () => actions.step(1));
    this.panel.addEventListener("keydown", (event) => this.#keyed(event));
  }

  /** Whether an event is open. */
  get isOpen() {
    return !this.panel.hidden;
  }

  /** Show an event. */
  async show(n) {
    const asked = ++this.#asked;
    this.panel.hidden = false;
    this.panel.setAttribute("aria-busy", "true");
    this.title.textContent = `Event #${n}`;
    try {
      const text = await ask(`api/events/${n}`);
      if (asked === this.#asked) this.#fill(text);
    } catch (error) {
      if (asked === this.#asked) this.#fail(n, error);
    }
  }

  /** Close the panel, and let go of what it held. */
  hide() {
    this.#asked += 1;
    this.panel.hidden = true;
    this.content.replaceChildren();
  }

  #fill(text) {
    const { item } = JSON.parse(text);
    const { visitor, envelope, headers } = parse(text);
    this.title.textContent = `${TITLES[item.kind] ?? "Event"} #${item.n}`;
    this.#replace(
      el("p", { class: "line", dir: "auto" }, icon(item.kind), el("span", {}, ...sentence(item))),
      el("p", { class: "when" }, moment(item.at), el("span", {}, `request ${count(item.request)}`), ...badges(item)),
      ...duplicateNote(item),
      ...problemList(item.problems),
      this.#names(item),
      section(item.kind === "invalid" ? "What was sent" : "Visitor", visitor, true),
      ...others("Around it: the request without its visitors", envelope),
      ...others("Headers", headers),
    );
  }

  #fail(n, error) {
    this.#replace(
      el("p", { class: "line" }, "This event cannot be shown."),
      el("p", { class: "note" }, `The collector says: ${error.message}. It keeps the last events only.`),
    );
  }

  #replace(...nodes) {
    this.panel.removeAttribute("aria-busy");
    this.content.replaceChildren(...nodes);
    this.content.scrollTop = 0;
  }

  #names(item) {
    const rows = NAMES.filter(([, field]) => item[field] !== null);
    const names = rows.flatMap(([title, field]) => this.#name(title, item[field]));
    return el("dl", { class: "names" }, ...names, ...amounts(item));
  }

  #name(title, value) {
    const words = `Show only events with this ${title.toLowerCase()}`;
    const only = el("button", { type: "button", class: "only", title: words, "aria-label": words }, icon("filter"));
    only.addEventListener("click", () => this.actions.filter(value));
    return [el("dt", {}, title), el("dd", {}, longText(value, {}, 120), only)];
  }

  #keyed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { j: 1, k: -1 }[event.key];
    if (step) this.actions.step(step);
  }
}

function duplicateNote(item) {
  if (!item.duplicate) return [];
  return [el("p", { class: "note duplicate" }, "Its uuid had come before. The Event API counts such an event once.")];
}

function problemList(problems) {
  if (!problems.length) return [];
  const listed = problems.map((problem) => el("li", {}, longText(problem)));
  return [el("h3", {}, "What is wrong"), el("ul", { class: "problems" }, ...listed)];
}

function amounts(item) {
  const rows = [];
  if (item.revenue !== null) rows.push(["Revenue", `${(item.revenue / 100).toFixed(2)} (sent as ${item.revenue})`]);
  if (item.value !== null) rows.push(["Value", String(item.value)]);
  return rows.flatMap(([title, value]) => [el("dt", {}, title), el("dd", {}, value)]);
}

function others(title, fields) {
  return Object.keys(fields).length ? [section(title, fields, false)] : [];
}

function section(title, value, open) {
  const details = el("details", { class: "section", open }, el("summary", {}, el("h3", {}, title)));
  const fill = () => {
    if (details.childElementCount > 1) return;
    const [shown, copied] = typeof value === "string" ? [text(value), () => value] : [tree(value), () => print(value)];
    details.append(el("div", { class: "payload" }, copyButton("Copy", copied), shown));
  };
  if (open) fill();
  details.addEventListener("toggle", () => { if (details.open) fill(); });
  return details;
}

// What is wrong may still be JSON.
function text(value) {
  try {
    return tree(parse(value));
  } catch {
    return el("pre", { class: "raw" }, longText(value, {}, LONG_TEXT));
  }
}
