// The events that the page keeps: bounded, filtered, and held still while somebody reads.

import { clamp } from "./text.js";

/** The most events that are kept in the list, and again as many that wait while it is held. */
export const KEPT = 5000;
// The list is cut only every so often: cutting moves all that is left.
const SLACK = 500;
// No field of an event takes more room than this, in characters; the collector has the whole.
const FIELD = 400;

const FIELDS = ["line", "uuid", "visitor", "key", "experiment", "flag", "variation"];
const SEARCHED = ["line", "key", "visitor", "experiment", "uuid"];
const CHIPS = ["all", "decision", "conversion", "invalid", "duplicate"];

export class Store {
  constructor() {
    this.words = [];
    this.chip = "all";
    this.held = false;
    this.clear();
  }

  /** Forget every event. */
  clear() {
    this.last = 0;
    this.shown = [];
    this.waiting = [];
    this.#refilter();
  }

  /** Take in events, oldest first. Those that are known already are left out. */
  add(items) {
    const fresh = items.filter((item) => item.n > this.last).map(small);
    if (!fresh.length) return;
    this.last = fresh[fresh.length - 1].n;
    if (this.held) this.#wait(fresh);
    else this.#show(fresh);
  }

  /** Hold the list still, or let in what has waited. */
  hold(held) {
    if (this.held === held) return;
    this.held = held;
    if (held) return;
    const waited = this.waiting;
    this.waiting = [];
    this.fresh = 0;
    this.#show(waited);
  }

  /** Show only the events with all these words, in whichever fields, and of this kind. */
  filter(text, chip = this.chip) {
    this.words = text.toLowerCase().split(/\s+/).filter(Boolean);
    this.chip = chip;
    this.#refilter();
  }

  /** How many events the list has. */
  get size() {
    return this.matches.length;
  }

  /** The event in that place, newest first. */
  at(place) {
    return this.matches[this.matches.length - 1 - place];
  }

  /** The place of an event, or -1. */
  placeOf(n) {
    const index = this.matches.findLastIndex((item) => item.n <= n);
    return index >= 0 && this.matches[index].n === n ? this.matches.length - 1 - index : -1;
  }

  /** The event with that number, whatever the filter, or undefined. */
  find(n) {
    return this.shown.find((item) => item.n === n) ?? this.waiting.find((item) => item.n === n);
  }

  #wait(items) {
    this.waiting.push(...items);
    if (this.waiting.length > KEPT + SLACK) this.waiting.splice(0, this.waiting.length - KEPT);
    this.fresh += items.filter((item) => this.#matches(item)).length;
  }

  #show(items) {
    for (const item of items) {
      this.shown.push(item);
      this.#count(item, 1);
      if (this.#matches(item)) this.matches.push(item);
    }
    if (this.shown.length > KEPT + SLACK) this.#cut();
  }

  #cut() {
    const cut = this.shown.splice(0, this.shown.length - KEPT);
    for (const item of cut) this.#count(item, -1);
    const oldest = this.shown[0].n;
    const kept = this.matches.findIndex((item) => item.n >= oldest);
    this.matches.splice(0, kept < 0 ? this.matches.length : kept);
  }

  #refilter() {
    this.counts = new Map(CHIPS.map((chip) => [chip, 0]));
    for (const item of this.shown) this.#count(item, 1);
    this.matches = this.shown.filter((item) => this.#matches(item));
    this.fresh = this.waiting.filter((item) => this.#matches(item)).length;
  }

  #count(item, step) {
    if (!this.#hasWords(item)) return;
    for (const chip of CHIPS) if (isOf(item, chip)) this.counts.set(chip, this.counts.get(chip) + step);
  }

  #matches(item) {
    return isOf(item, this.chip) && this.#hasWords(item);
  }

  #hasWords(item) {
    return this.words.every((word) => item.hay.includes(word));
  }
}

function isOf(item, chip) {
  if (chip === "all") return true;
  return chip === "duplicate" ? item.duplicate : item.kind === chip;
}

/** The event in little room, with the text that is searched. */
function small(item) {
  for (const name of FIELDS) {
    if (typeof item[name] === "string") item[name] = clamp(item[name], FIELD);
  }
  item.problems = []; // the collector has them, for who opens the event
  item.hay = SEARCHED.map((name) => item[name] ?? "").join("\n").toLowerCase();
  return item;
}
