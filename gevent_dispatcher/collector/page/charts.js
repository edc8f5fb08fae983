// Two small charts: events a second, and how long answers take. They move while there is something to show.

import { byId, write } from "./dom.js";
import { count, milliseconds } from "./text.js";

// How far back the charts reach, in seconds; also the width of their drawings.
const REACH = 90;
const HEIGHT = 28;

export class Charts {
  #ticks = new Map(); // by second
  #rate = chart("rate");
  #answer = chart("answer");

  /** Take in what one second brought. */
  add(tick) {
    this.#ticks.set(tick.at, tick);
  }

  /** Forget everything. */
  clear() {
    this.#ticks.clear();
    this.draw();
  }

  /** Draw the charts as they are now. */
  draw() {
    const now = Math.floor(Date.now() / 1000 - 1.3); // the last second that all has been told of
    for (const second of this.#ticks.keys()) if (second < now - REACH) this.#ticks.delete(second);
    const seconds = Array.from({ length: REACH }, (_, index) => this.#ticks.get(now - REACH + 1 + index));
    const latest = this.#ticks.get(now);
    plot(this.#rate, seconds.map((tick) => tick?.events ?? 0), latest ? count(latest.events) : "0", count);
    plot(this.#answer, seconds.map((tick) => tick?.ms ?? 0), lastAnswer(latest, seconds), milliseconds);
  }
}

function lastAnswer(latest, seconds) {
  const tick = latest ?? seconds.findLast(Boolean);
  return tick && typeof tick.ms === "number" ? milliseconds(tick.ms) : "–";
}

function chart(name) {
  return Object.fromEntries(["area", "line", "now", "most"].map((part) => [part, byId(`${name}-${part}`)]));
}

function plot(drawing, values, now, words) {
  const most = Math.max(...values);
  const high = (value) => (HEIGHT - 1 - (most ? value / most : 0) * (HEIGHT - 3)).toFixed(1);
  const line = values.map((value, index) => `${index ? "L" : "M"}${index} ${high(value)}`).join("");
  drawing.line.setAttribute("d", line);
  drawing.area.setAttribute("d", `${line}V${HEIGHT}H0Z`);
  write(drawing.now, now);
  write(drawing.most, most ? `most ${words(most)}` : "");
}
