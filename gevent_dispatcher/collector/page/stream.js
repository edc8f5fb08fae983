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

  // Ask for the events up to the last one that are not known; what arrives meanwhile waits until its turn comes.
  async #catchUp(last) {
    const generation = ++this.#generation;
    const isWanted = () => generation === this.#generation;
    this.#held = [];
    do {
      const missed = await this.#fetch(last, isWanted);
      if (!isWanted()) return;
      this.store.add(missed);
      last = this.#held[this.#held.length - 1]?.n;
    } while (this.#isBeyond(this.#held));
    this.store.add(this.#held);
    this.#held = null;
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
    const { events } = message;
    if (this.#held) this.#hold(events);
    else if (this.#isBeyond(events)) this.#catchUp(events[events.length - 1].n);
    else this.store.add(events);
    this.hear("summary", message.summary);
    this.hear("events");
  }

  // A message has the newest events only when there were many; their numbers tell.
  #isBeyond(events) {
    return events.length > 0 && events[0].n > this.store.last + 1;
  }

  // Should the answer be long in coming, no more is held than the list takes.
  #hold(events) {
    this.#held.push(...events);
    this.#held.splice(0, this.#held.length - KEPT);
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
