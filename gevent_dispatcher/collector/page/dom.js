// Elements, made one by one. Text becomes text nodes, so that whatever an event holds stays text.

const SVG = "http://www.w3.org/2000/svg";

/** The element of the page with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** A new element. Attributes that are null or false are left out; functions are listeners by their event's name. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** One of the drawings of index.html, for the eye only. */
export function icon(name) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("class", `icon ${name}`);
  drawing.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  drawing.append(use);
  return drawing;
}

/** Write text where it differs: an unchanged text node costs no layout. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A button that copies what a function returns, and says so. */
export function copyButton(label, content) {
  const words = el("span", {}, label);
  const press = () => copy(content(), words, label);
  return el("button", { type: "button", class: "quiet", click: press }, icon("copy"), words);
}

/** Copy a text; for a moment the element says how it went. */
export async function copy(text, element, label) {
  try {
    await navigator.clipboard.writeText(text);
    element.textContent = "Copied";
  } catch {
    element.textContent = "Not allowed to copy";
  }
  setTimeout(() => { element.textContent = label; }, 1500);
}

/** Say something to those who hear the page. */
export function announce(text) {
  byId("announcement").textContent = text;
}

/** Whether a key that is pressed here belongs to the element that has the focus. */
export function isTyping(target) {
  return target instanceof Element && target.closest("input, select, textarea, [contenteditable]") !== null;
}
