// How the collector answers: a bad day, switched on and off.

import { askJson } from "./api.js";
import { announce, byId, el, write } from "./dom.js";
import { milliseconds } from "./text.js";

/** What a good day is. */
const NORMAL = { status: 204, rate: 1, latency: 0, hang: false, reset: false };

const DAYS = [
  ["Outage", "all get 503", { status: 503 }],
  ["Rate limit", "half get 429", { status: 429, rate: 0.5 }],
  ["Flaky", "one in five gets 500", { status: 500, rate: 0.2 }],
  ["Slow", "answers take 2 s", { latency: 2 }],
  ["Silence", "no answer, ever", { hang: true }],
  ["Broken lines", "half are cut off", { reset: true, rate: 0.5 }],
];

// How long a slider rests before its value is sent, in milliseconds.
const REST = 150;

export class Faults {
  #timer = 0;

  constructor() {
    this.panel = byId("faults");
    this.button = byId("faults-button");
    this.form = byId("faults-form");
    this.now = { ...NORMAL, strict: false };
    this.#listen();
  }

  /** Show how the collector answers now. */
  show(faults) {
    this.now = { ...this.now, ...faults };
    const sentence = describe(this.now);
    const changed = byId("banner-text").textContent !== sentence;
    byId("banner").hidden = sentence === "";
    write(byId("banner-text"), sentence);
    byId("strict-mark").hidden = !this.now.strict;
    this.button.classList.toggle("on", sentence !== "");
    this.#fill();
    if (changed) announce(sentence || "Answers are back to normal.");
  }

  /** Open or close the panel. */
  toggle(open = this.panel.hidden) {
    if (open === !this.panel.hidden) return;
    const hadFocus = this.panel.contains(document.activeElement);
    this.panel.hidden = !open;
    this.button.setAttribute("aria-expanded", open);
    if (open) byId("days").firstChild.focus();
    else if (hadFocus) this.button.focus();
  }

  get isOpen() {
    return !this.panel.hidden;
  }

  #listen() {
    this.button.addEventListener("click", () => this.toggle());
    byId("faults-close").addEventListener("click", () => this.toggle(false));
    for (const id of ["normal", "banner-normal"]) byId(id).addEventListener("click", () => this.#change(NORMAL));
    byId("days").append(...DAYS.map(([name, text, faults]) => this.#day(name, text, faults)));
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("input", (event) => { if (isTyped(event.target)) this.#edited(event.target); });
    this.form.addEventListener("change", (event) => { if (!isTyped(event.target)) this.#change(read(event.target)); });
    document.addEventListener("pointerdown", (event) => this.#pressedElsewhere(event.target));
  }

  #pressedElsewhere(target) {
    if (this.isOpen && !this.panel.contains(target) && !this.button.contains(target)) this.toggle(false);
  }

  #day(name, text, faults) {
    const press = () => this.#change({ ...NORMAL, ...faults });
    return el("button", { type: "button", class: "day", click: press }, el("b", {}, name), el("span", {}, text));
  }

  #edited(field) {
    if (field.name === "rate") write(byId("rate-shown"), `${field.value} %`);
    clearTimeout(this.#timer);
    if (field.value === "") return;
    this.#timer = setTimeout(() => this.#change(read(field)), REST);
  }

  async #change(faults) {
    try {
      this.show(await askJson("api/faults", faults));
      this.#complain("");
    } catch (error) {
      this.#complain(`Not changed: ${error.message}`);
    }
  }

  #complain(text) {
    write(byId("faults-error"), text);
    byId("faults-error").hidden = text === "";
  }

  // What is being edited keeps what is typed in it.
  #fill() {
    const { status, rate, latency, hang, reset, strict } = this.form.elements;
    this.#offer(status, this.now.status);
    set(status, this.now.status);
    set(rate, Math.round(this.now.rate * 100));
    set(latency, Math.round(this.now.latency * 1000));
    write(byId("rate-shown"), `${rate.value} %`);
    hang.checked = this.now.hang;
    reset.checked = this.now.reset;
    strict.checked = this.now.strict;
  }

  // A status that was set elsewhere, and is none of the list's.
  #offer(select, value) {
    if ([...select.options].some((option) => option.value === String(value))) return;
    select.append(el("option", { value }, String(value)));
  }
}

function set(field, value) {
  const isEdited = document.activeElement === field && field.type === "number";
  if (!isEdited && field.value !== String(value)) field.value = value;
}

function isTyped(field) {
  return field.type === "range" || field.type === "number";
}

function read(field) {
  if (field.type === "checkbox") return { [field.name]: field.checked };
  const number = Number(field.value);
  if (field.name === "rate") return { rate: number / 100 };
  if (field.name === "latency") return { latency: number / 1000 };
  return { status: number };
}

/** The faults in a sentence; empty on a good day. */
function describe({ status, rate, latency, hang, reset }) {
  const parts = [];
  const what = fates(status, hang, reset);
  if (what && rate > 0) parts.push(`${share(rate)} ${what}`);
  if (latency > 0) parts.push(`${parts.length ? "each" : "every"} answer takes ${milliseconds(latency * 1000)}`);
  const sentence = parts.join("; ");
  return sentence && sentence[0].toUpperCase() + sentence.slice(1) + ".";
}

function fates(status, hang, reset) {
  const all = [status >= 300 && `answered ${status}`, hang && "never answered", reset && "cut off"].filter(Boolean);
  return all.length < 2 ? all.join() : `${all.slice(0, -1).join(", ")} or ${all[all.length - 1]}`;
}

function share(rate) {
  return rate >= 1 ? "every request is" : `${Number((rate * 100).toPrecision(3))} % of requests are`;
}
