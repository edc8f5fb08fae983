// The list of events: only the rows in sight are elements. The focus stays on the list, so that rows may come and go.

import { byId, el, icon, write } from "./dom.js";
import { sentence } from "./sentence.js";
import { ago, moment } from "./text.js";

// Rows beyond the edges, so that a quick scroll meets rows and not blanks.
const BEYOND = 6;
// More new rows than this at once are not each lit up.
const FEW = 8;

const TITLES = { decision: "Decision", conversion: "Conversion", invalid: "Invalid" };
const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class List {
  #rows = new Map(); // by the event's number
  #height = 0;
  #pressed = false;
  #newest = 0; // the newest event that has been in sight

  /**
   * @param store the events
   * @param open called with the event that is to be opened, and whether by the keyboard
   * @param moved called when the list was scrolled or the active row changed
   */
  constructor(store, open, moved) {
    this.store = store;
    this.scroller = byId("list");
    this.canvas = byId("rows");
    this.open = open;
    this.moved = moved;
    this.active = null;
    this.opened = null;
    this.#listen();
  }

  /** Whether the newest events are out of sight. */
  get isAway() {
    return this.scroller.scrollTop > 2;
  }

  /** Go to the newest event. */
  toTop() {
    this.scroller.scrollTop = 0;
  }

  /** Forget every row: another collector gives the same numbers to other events. */
  clear() {
    this.#keep(new Set());
    this.#newest = 0;
    this.active = null;
  }

  /** Bring the elements into line with the events. */
  render() {
    if (this.#pressed) return;
    this.canvas.style.height = `${this.store.size * this.#height}px`;
    const [first, end] = this.#inSight();
    const items = Array.from({ length: Math.max(end - first, 0) }, (_, index) => this.store.at(first + index));
    this.#keep(new Set(items.map((item) => item.n)));
    const fresh = items.filter((item, index) => this.#place(item, first + index, items[index - 1]));
    this.#light(fresh);
    this.#point();
  }

  /** Bring the times up to date. */
  age() {
    const now = Date.now() / 1000;
    for (const row of this.#rows.values()) write(row.time, ago(now - row.at));
  }

  /** Make an event the active one, and bring it into sight. */
  activate(n) {
    this.active = n;
    const place = this.store.placeOf(n);
    if (place >= 0) this.#reveal(place);
    this.render();
  }

  /** The event that lies so many rows further from the newest than the active one. */
  neighbour(step) {
    const { size } = this.store;
    if (!size) return null;
    const place = this.active === null ? -1 : this.store.placeOf(this.active);
    const wanted = place < 0 ? 0 : Math.min(Math.max(place + step, 0), size - 1);
    return this.store.at(wanted);
  }

  #listen() {
    this.scroller.addEventListener("scroll", () => { this.moved(); this.render(); }, { passive: true });
    this.scroller.addEventListener("keydown", (event) => this.#keyed(event));
    this.canvas.addEventListener("click", (event) => this.#clicked(event));
    // A row that is pressed must still be there when it is let go.
    this.canvas.addEventListener("pointerdown", () => { this.#pressed = true; });
    for (const name of ["pointerup", "pointercancel"]) addEventListener(name, () => this.#released());
    new ResizeObserver(() => this.#measure()).observe(this.scroller);
    this.#measure();
  }

  #released() {
    if (!this.#pressed) return;
    setTimeout(() => { this.#pressed = false; this.render(); });
  }

  #measure() {
    const height = parseFloat(getComputedStyle(this.canvas).getPropertyValue("--row"));
    if (this.#height && height !== this.#height) this.scroller.scrollTop *= height / this.#height;
    this.#height = height;
    this.render();
  }

  #inSight() {
    const first = Math.floor(this.scroller.scrollTop / this.#height) - BEYOND;
    const end = Math.ceil((this.scroller.scrollTop + this.scroller.clientHeight) / this.#height) + BEYOND;
    return [Math.max(first, 0), Math.min(end, this.store.size)];
  }

  #keep(numbers) {
    for (const [n, row] of this.#rows) {
      if (numbers.has(n)) continue;
      row.element.remove();
      this.#rows.delete(n);
    }
  }

  /** Put an event's row below that of the event before it; returns whether the row had to be made. */
  #place(item, place, before) {
    const known = this.#rows.get(item.n);
    const row = known ?? this.#make(item, before);
    const top = place * this.#height;
    if (row.top !== top) {
      row.top = top;
      row.element.style.transform = `translateY(${top}px)`;
    }
    set(row.element, "aria-posinset", place + 1);
    set(row.element, "aria-setsize", this.store.size);
    set(row.element, "aria-selected", item.n === this.opened);
    row.element.classList.toggle("active", item.n === this.active);
    return !known;
  }

  // In the document, too, the newest is the first.
  #make(item, before) {
    const row = eventRow(item);
    this.#rows.set(item.n, row);
    if (before) this.#rows.get(before.n).element.after(row.element);
    else this.canvas.prepend(row.element);
    return row;
  }

  // What is new shines for a moment, as long as it is little enough to be looked at.
  #light(made) {
    const fresh = made.filter((item) => item.n > this.#newest);
    this.#newest = this.store.last;
    if (calm.matches || fresh.length > FEW) return;
    for (const { n } of fresh) {
      this.#rows.get(n).element.firstChild.animate({ opacity: [1, 0] }, { duration: 1200, easing: "ease-out" });
    }
  }

  #point() {
    const row = this.#rows.get(this.active);
    if (row) this.scroller.setAttribute("aria-activedescendant", row.element.id);
    else this.scroller.removeAttribute("aria-activedescendant");
  }

  #reveal(place) {
    const top = place * this.#height;
    const { scrollTop, clientHeight } = this.scroller;
    if (top < scrollTop) this.scroller.scrollTop = top;
    else if (top + this.#height > scrollTop + clientHeight) this.scroller.scrollTop = top + this.#height - clientHeight;
  }

  #clicked(event) {
    const element = event.target.closest(".row");
    const item = element && this.store.find(Number(element.dataset.n));
    if (!item) return;
    this.activate(item.n);
    this.open(item, false);
  }

  #keyed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(Math.floor(this.scroller.clientHeight / this.#height) - 1, 1);
    const letters = { j: 1, k: -1 };
    const arrows = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const steps = { ...letters, ...arrows };
    if (event.key in steps) this.#step(event, steps[event.key]);
    else if (event.key === "Enter") this.#enter(event);
  }

  #step(event, step) {
    event.preventDefault();
    const item = this.neighbour(step);
    if (!item) return;
    this.activate(item.n);
    this.moved(step === -Infinity ? "home" : "row");
    if (this.opened !== null) this.open(item, false);
  }

  #enter(event) {
    event.preventDefault();
    const item = this.active === null ? this.store.at(0) : this.store.find(this.active);
    if (!item) return;
    this.activate(item.n);
    this.open(item, true);
  }
}

function set(element, name, value) {
  if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

function eventRow(item) {
  const time = el("time", { class: "ago", title: moment(item.at) }, ago(Date.now() / 1000 - item.at));
  const element = el(
    "div",
    { class: `row ${item.kind}`, id: `event-${item.n}`, role: "option", "data-n": item.n },
    el("span", { class: "shine" }),
    time,
    el("span", { class: "kind", role: "img", "aria-label": TITLES[item.kind] ?? "Event" }, icon(item.kind)),
    el("span", { class: "sentence", dir: "auto" }, ...sentence(item)),
    el("span", { class: "badges" }, ...badges(item)),
    el("span", { class: "number" }, `#${item.n}`),
  );
  return { element, time, at: item.at, top: -1 };
}

/** The marks of an event, in words. */
export function badges(item) {
  const marks = [];
  if (item.duplicate) marks.push(el("span", { class: "badge duplicate" }, "duplicate"));
  if (!item.valid) marks.push(el("span", { class: "badge invalid" }, "invalid"));
  return marks;
}
