// How many events there are, as they arrive.
const shown = document.getElementById("events");
const stream = new EventSource("stream");

for (const name of ["hello", "events"]) {
  stream.addEventListener(name, (message) => {
    shown.textContent = JSON.parse(message.data).summary.events;
  });
}
