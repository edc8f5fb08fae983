// How text, numbers and times are written. What comes from events goes through visible() before anybody sees it.

// Control characters, lone surrogates, and what turns text around or takes no room.
const HIDDEN = /[\p{Cc}\p{Cs}\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/gu;
const SHORT = new Map([["\n", "\\n"], ["\r", "\\r"], ["\t", "\\t"]]);

const whole = new Intl.NumberFormat("en");
const exact = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
  fractionalSecondDigits: 3, hourCycle: "h23",
});

/** Text in which nothing hides: what cannot be seen is shown as an escape. */
export function visible(text) {
  return String(text).replace(HIDDEN, (hidden) => SHORT.get(hidden) ?? escaped(hidden));
}

function escaped(character) {
  return "\\u" + character.charCodeAt(0).toString(16).padStart(4, "0");
}

/** At most so many characters of a text; a pair of surrogates is not cut. */
export function clamp(text, length) {
  if (text.length <= length) return text;
  const end = isHighSurrogate(text.charCodeAt(length - 1)) ? length - 1 : length;
  return text.slice(0, end) + "…";
}

function isHighSurrogate(code) {
  return code >= 0xd800 && code <= 0xdbff;
}

/** 1234 as 1,234. */
export function count(number) {
  return whole.format(number);
}

/** "1 event", "2 events". */
export function counted(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** How long ago, in as few characters as may be. */
export function ago(seconds) {
  if (seconds < 1) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

/** A moment to the millisecond, in the reader's own zone. */
export function moment(epoch) {
  return exact.format(new Date(epoch * 1000));
}

/** Milliseconds, or seconds when they are many. */
export function milliseconds(ms) {
  if (ms >= 10000) return `${(ms / 1000).toFixed(1)} s`;
  return ms >= 100 ? `${Math.round(ms)} ms` : `${Number(ms.toPrecision(2))} ms`;
}
