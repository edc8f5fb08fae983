// What the collector tells while it happens. The connection is made again, for as long as the page is open.

import { askJson } from "./api.js";
import { KEPT } from "./store.js";

// How long until the next attempt, in milliseconds; a stream that ended is opened again by the browser.
const AGAIN = 1000;

export class Stream {
  #generation = 0; // which greeting or reset an answer belongs to
  #held = null; // the newest events that arrived while the events before it were still being asked for
  #since = null;

  /**
   * @param store where events go
   * @param hear called with a name and what there is to tell: state, summary, faults, tick, cleared or events
   */
  constructor(store, hear) {
    this.store = store;
    this.hear = hear;
  }

  /** Connect, and stay connected. */
  open() {
    const source = new EventSource("stream");
    const on = (name, heard) => source.addEventListener(name, (message) => heard(JSON.parse(message.data)));
    on("hello", (hello) => this.#greeted(hello));
    on("events", (message) => this.#arrived(message));
    on("faults", (faults) => this.hear("faults", faults));
    on("tick", (tick) => this.#ticked(tick));
    on("reset", (message) => this.#reset(message.summary));
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
    await this.#catchUp(hello.last);
  }

  // A collector that was started anew counts from the beginning.
  #isAnother(hello) {
    const { since } = hello.summary;
    const other = hello.last < this.store.last || (this.#since !== null && since !== this.#since);
    this.#since = since;
    return other;
  }

  async #catchUp(last) {
    const generation = ++this.#generation;
    this.#held = [];
    const missed = await this.#fetch(last, () => generation === this.#generation);
    if (generation !== this.#generation) return;
    const held = this.#held;
    this.#held = null;
    this.store.add(missed);
    this.store.add(held);
    this.hear("events");
  }

  // Until it is answered, or nobody wants it any more.
  async #fetch(last, isWanted) {
    while (isWanted()) {
      try {
        return (await askJson(this.#missed(last))).events;
      } catch {
        await new Promise((resolve) => { setTimeout(resolve, AGAIN); });
      }
    }
    return [];
  }

  // Those after the last one, or the newest when that is too long ago.
  #missed(last) {
    const after = last - this.store.last <= KEPT ? `&after=${this.store.last}` : "";
    return `api/events?limit=${KEPT}${after}`;
  }

  #arrived(message) {
    if (this.#held) this.#hold(message);
    else this.#take(message);
    this.hear("summary", message.summary);
    this.hear("events");
  }

  // What was skipped will be in the answer; should that be long in coming, no more is held than the list takes.
  #hold(message) {
    this.#held.push(...message.events);
    this.#held.splice(0, this.#held.length - KEPT);
  }

  #take(message) {
    if (message.skipped && message.events.some((item) => item.n > this.store.last)) this.store.skip(message.skipped);
    this.store.add(message.events);
  }

  #ticked(tick) {
    this.hear("summary", tick.summary);
    this.hear("tick", tick);
  }

  #reset(summary) {
    this.#forget();
    this.#since = summary.since;
    this.hear("summary", summary);
  }

  #forget() {
    this.#generation += 1;
    this.#held = null;
    this.store.clear();
    this.hear("cleared");
  }
}
