// What the page shows while nothing has come yet: how to point an application at the collector.

import { ask, EVENTS_URL } from "./api.js";
import { byId, copyButton } from "./dom.js";

const PYTHON = `from optimizely.event.event_factory import EventFactory

url = "${EVENTS_URL}"
EventFactory.EVENT_ENDPOINTS = {"US": url, "EU": url}
EventFactory.EVENT_ENDPOINT = url  # SDKs that know no regions`;

const CURL = `curl ${EVENTS_URL} \\
  -H 'Content-Type: application/json' -d @event.json`;

/** Fill in the url, and make the buttons work. */
export function welcome() {
  for (const [id, text] of [["teach-python", PYTHON], ["teach-curl", CURL]]) {
    byId(id).textContent = text;
    byId(id).after(copyButton("Copy", () => text));
  }
  byId("sample").addEventListener("click", sendSamples);
}

/** Send a decision and a conversion, as the SDK would. */
async function sendSamples() {
  const name = `visitor-${Math.floor(Math.random() * 1000)}`;
  try {
    await ask("v1/events", payload(name, decision()));
    await ask("v1/events", payload(name, conversion()));
    byId("sample-said").textContent = "";
  } catch (error) {
    byId("sample-said").textContent = `Refused: ${error.message}`;
  }
}

function payload(name, snapshot) {
  return {
    account_id: "12345", project_id: "67890", revision: "1", client_name: "collector-page", client_version: "1",
    anonymize_ip: true, enrich_decisions: true,
    visitors: [{ visitor_id: name, attributes: [], snapshots: [snapshot] }],
  };
}

function decision() {
  const chosen = { campaign_id: "10", experiment_id: "11", variation_id: "12" };
  const rule = { flag_key: "checkout_flow", rule_key: "checkout", rule_type: "experiment" };
  const metadata = { ...rule, variation_key: "treatment", enabled: true };
  const activated = event("campaign_activated", { entity_id: "10", type: "campaign_activated" });
  return { decisions: [{ ...chosen, metadata }], events: [activated] };
}

function conversion() {
  const amounts = { revenue: 4200, value: 42, tags: { revenue: 4200, value: 42 } };
  return { decisions: [], events: [event("purchase", { entity_id: "20", ...amounts })] };
}

function event(key, fields) {
  return { key, uuid: crypto.randomUUID(), timestamp: Date.now(), ...fields };
}
