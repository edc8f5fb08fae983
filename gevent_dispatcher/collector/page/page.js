// The collector's page: what arrives, as it arrives. Here its parts are put together.

import { ask, EVENTS_URL } from "./api.js";
import { Charts } from "./charts.js";
import { Detail } from "./detail.js";
import { announce, byId, copy, isTyping, write } from "./dom.js";
import { Faults } from "./faults.js";
import { List } from "./list.js";
import { Store } from "./store.js";
import { Stream } from "./stream.js";
import { count, counted } from "./text.js";
import { welcome } from "./welcome.js";

const TOTALS = ["events", "unique", "duplicated", "invalid", "visitors", "requests", "refused"];
const STATES = { connecting: "connecting", live: "live", lost: "reconnecting" };
// The clear button must be pressed a second time within this, in milliseconds.
const SECOND_THOUGHT = 4000;
// How often those who hear the page are told the totals, at most, in milliseconds.
const TELLING = 15000;

const store = new Store();
const charts = new Charts();
const faults = new Faults();
const detail = new Detail({ close: closeEvent, step: stepEvent, filter: filterBy });
const list = new List(store, openEvent, listMoved);
const totals = Object.fromEntries(TOTALS.map((name) => [name, 0]));
const chips = [...document.querySelectorAll("[data-chip]")];
const narrow = matchMedia("(max-width: 799px)");

let paused = false; // by the user
let reading = false; // a row is active or open
let drawn = true; // nothing has changed since the last frame
let told = { at: 0, events: 0 }; // to those who hear the page

// ---- drawing: whatever happens between two frames is drawn once

function changed() {
  if (!drawn) return;
  drawn = false;
  requestAnimationFrame(draw);
}

function draw() {
  drawn = true;
  store.hold(paused || reading || list.isAway);
  list.render();
  drawTotals();
  drawChips();
  drawHeld();
  drawEmpty();
}

function drawTotals() {
  for (const name of TOTALS) {
    write(byId(`total-${name}`), count(totals[name]));
    byId(`total-${name}`).parentElement.classList.toggle("some", totals[name] > 0);
  }
}

function drawChips() {
  for (const chip of chips) {
    chip.setAttribute("aria-pressed", chip.dataset.chip === store.chip);
    write(chip.querySelector(".count"), count(store.counts.get(chip.dataset.chip)));
  }
}

function drawHeld() {
  byId("pause").setAttribute("aria-pressed", paused);
  write(byId("pause-text"), paused ? `Resume${store.fresh ? ` (${count(store.fresh)})` : ""}` : "Pause");
  byId("new").hidden = !store.held || (!store.fresh && !paused);
  write(byId("new-text"), paused ? `Paused, ${counted(store.fresh, "new event")}` : counted(store.fresh, "new event"));
}

function drawEmpty() {
  const nothing = store.shown.length === 0 && store.waiting.length === 0;
  byId("welcome").hidden = !nothing;
  byId("list").hidden = nothing;
  byId("no-match").hidden = nothing || store.size > 0;
}

// ---- what the collector tells

function heard(name, news) {
  if (name === "state") showState(news);
  else if (name === "summary") Object.assign(totals, known(news));
  else if (name === "faults") faults.show(news);
  else if (name === "tick") charts.add(news);
  else if (name === "cleared") cleared();
  changed();
  tell();
}

function known(summary) {
  return Object.fromEntries(TOTALS.map((name) => [name, summary[name]]));
}

function showState(state) {
  document.documentElement.dataset.state = state;
  write(byId("state"), STATES[state]);
}

function cleared() {
  Object.assign(totals, Object.fromEntries(TOTALS.map((name) => [name, 0])));
  charts.clear();
  list.clear();
  closeEvent();
}

function tell() {
  const now = performance.now();
  if (totals.events === told.events || now - told.at < TELLING) return;
  told = { at: now, events: totals.events };
  const { events, duplicated, invalid } = totals;
  announce(`${counted(events, "event")}, ${count(duplicated)} duplicated, ${count(invalid)} invalid.`);
}

// ---- holding the list still

function listMoved(how) {
  if (how === "row") reading = true;
  if (how === "home") reading = detail.isOpen;
  changed();
}

function pause(on = !paused) {
  paused = on;
  if (!on) toNewest();
  announce(on ? "Paused." : "Going on.");
  changed();
}

function toNewest() {
  reading = false;
  paused = false;
  list.toTop();
  changed();
}

// ---- one event, opened

function openEvent(item, byKeyboard) {
  const fromClosed = !detail.isOpen;
  showEvent(item.n);
  const url = `#${item.n}`;
  if (fromClosed) history.pushState({ opened: true }, "", url);
  else history.replaceState(history.state, "", url);
  if (byKeyboard || narrow.matches) detail.title.focus();
}

function showEvent(n) {
  reading = true;
  list.opened = n;
  detail.show(n);
  document.body.classList.add("opened");
  cover();
  list.activate(n);
  changed();
}

function closeEvent() {
  if (!detail.isOpen) return;
  if (history.state?.opened) history.back();
  else history.replaceState(null, "", location.pathname);
  hideEvent();
}

function hideEvent() {
  const hadFocus = detail.panel.contains(document.activeElement);
  detail.hide();
  document.body.classList.remove("opened");
  cover();
  list.opened = null;
  reading = false;
  if (hadFocus) list.scroller.focus({ preventScroll: true });
  changed();
}

// On a narrow screen the event lies over everything else.
function cover() {
  for (const id of ["top", "tools", "events"]) byId(id).inert = detail.isOpen && narrow.matches;
}

function stepEvent(by) {
  const item = list.neighbour(by);
  if (item) openEvent(item, false);
}

function followHash() {
  const n = Number(location.hash.slice(1));
  if (Number.isInteger(n) && n > 0) showEvent(n);
  else if (detail.isOpen) hideEvent();
}

// ---- filtering

function filterBy(text, chip) {
  if (byId("filter").value !== text) byId("filter").value = text;
  store.filter(text, chip);
  list.toTop();
  if (narrow.matches) closeEvent();
  changed();
}

// ---- clearing, on the second press

function clear() {
  const button = byId("clear");
  if (!button.classList.contains("armed")) {
    arm(true);
    setTimeout(() => arm(false), SECOND_THOUGHT);
    return;
  }
  arm(false);
  ask("api/reset", {}).catch((error) => announce(`Not cleared: ${error.message}`));
}

function arm(on) {
  byId("clear").classList.toggle("armed", on);
  write(byId("clear-text"), on ? "Press again to clear" : "Clear");
  if (on) announce("Press again to forget every event and count.");
}

// ---- keys

function keyed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") escape();
  else if (isTyping(event.target)) return;
  else if (event.key === "/") focusFilter(event);
  else if (event.key === "f") faults.toggle();
  else if (event.key === "g") toNewest();
  else if (event.key === " " && !event.target.closest("button, summary, a")) {
    event.preventDefault();
    pause();
  }
}

function escape() {
  if (faults.isOpen) faults.toggle(false);
  else if (document.activeElement === byId("filter")) leaveFilter();
  else if (detail.isOpen) closeEvent();
  else leaveRow();
}

function leaveRow() {
  reading = false;
  list.toTop();
  changed();
}

function focusFilter(event) {
  event.preventDefault();
  byId("filter").focus();
  byId("filter").select();
}

function leaveFilter() {
  if (byId("filter").value) filterBy("");
  else list.scroller.focus();
}

// ---- beginning

function listen() {
  document.addEventListener("keydown", keyed);
  addEventListener("popstate", followHash);
  narrow.addEventListener("change", cover);
  byId("filter").addEventListener("input", () => filterBy(byId("filter").value));
  for (const chip of chips) chip.addEventListener("click", () => filterBy(byId("filter").value, chip.dataset.chip));
  byId("all").addEventListener("click", () => filterBy("", "all"));
  byId("pause").addEventListener("click", () => pause());
  byId("new").addEventListener("click", toNewest);
  byId("clear").addEventListener("click", clear);
  byId("url").addEventListener("click", () => copy(EVENTS_URL, byId("url-text"), EVENTS_URL));
}

function everySecond() {
  if (document.hidden) return;
  charts.draw();
  list.age();
}

write(byId("url-text"), EVENTS_URL);
welcome();
listen();
followHash();
draw();
setInterval(everySecond, 1000);
new Stream(store, heard).open();
