// A SharedWorker: the one stream of all tabs of this browser.
import { Hub } from "./live-hub.js";

const hub = new Hub();

onconnect = (event) => {
  const port = event.ports[0];
  port.onmessage = (message) => hub.hear(port, message.data);
};
