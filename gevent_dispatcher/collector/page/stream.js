// What the collector tells while it happens. The connection is made again, for as long as the page is open.

import { askJson } from "./api.js";
import { KEPT } from "./store.js";

// How long until the next attempt when the browser itself has given up, in milliseconds.
const AGAIN = 1000;

export class Stream {
  #generation = 0; // which greeting or reset an answer belongs to
  #held = null; // what arrived while the events before it were still being asked for
  #since = null;

  /**
   * @param store where events go
   * @param hear called with a name and what there is to tell: state, summary, faults, tick, cleared, events
   */
  constructor(store, hear) {
    this.store = store;
    this.hear = hear;
  }

  /** Connect, and stay connected. */
  open() {
    const source = new EventSource("stream");
    const on = (name, heard) => source.addEventListener(name, (message) => heard(JSON.parse(message.data || "{}")));
    on("hello", (hello) => this.#greeted(hello));
    on("events", (message) => this.#arrived(message));
    on("faults", (faults) => this.hear("faults", faults));
    on("tick", (tick) => this.hear("tick", tick));
    on("reset", () => this.#reset());
    source.addEventListener("error", () => this.#lost(source));
  }

  #lost(source) {
    this.hear("state", "lost");
    if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
    setTimeout(() => this.open(), AGAIN);
  }

  async #greeted(hello) {
    if (this.#isAnother(hello)) this.#forget();
    this.hear("state", "live");
    this.hear("faults", hello.faults);
    this.hear("summary", hello.summary);
    await this.#catchUp();
  }

  // A collector that was started anew counts from the beginning.
  #isAnother(hello) {
    const since = hello.summary?.since ?? null;
    const other = hello.last < this.store.last || (this.#since !== null && since !== this.#since);
    this.#since = since;
    return other;
  }

  async #catchUp() {
    const generation = ++this.#generation;
    this.#held = [];
    let missed = [];
    try {
      missed = (await askJson(`api/events?limit=${KEPT}&after=${this.store.last}`)).events;
    } catch {
      // The connection went again; the next greeting asks again.
    }
    if (generation !== this.#generation) return;
    const held = this.#held;
    this.#held = null;
    this.store.add(missed);
    for (const message of held) this.#take(message);
    this.hear("events");
  }

  #arrived(message) {
    if (this.#held) this.#held.push(message);
    else this.#take(message);
    this.hear("summary", message.summary);
    this.hear("events");
  }

  #take(message) {
    if (message.skipped && message.events.some((item) => item.n > this.store.last)) this.store.skip(message.skipped);
    this.store.add(message.events);
  }

  async #reset() {
    this.#forget();
    const summary = await askJson("api/summary");
    this.#since = summary.since ?? null;
    this.hear("summary", summary);
  }

  #forget() {
    this.#generation += 1;
    this.#held = null;
    this.store.clear();
    this.hear("cleared");
  }
}
