// What happens, as it happens: the tab's end of the event stream. While ``connected`` is false, pages poll.
import { Signal } from "./store.js";
import { Hub } from "./live-hub.js";

export const connected = new Signal(false);

const taskWatchers = new Set();
const logWatchers = new Map(); // task -> {log, end}
let say = null;
let timer = 0;

function heard(message) {
  if (message.event === "up" || message.event === "down") connected.value = message.event === "up";
  else if (message.event === "tasks") for (const watcher of [...taskWatchers]) watcher(message.rows);
  else if (message.event === "log") logWatchers.get(message.task)?.log(message.lines, message.next);
  else if (message.event === "logEnd") logWatchers.get(message.task)?.end();
}

function open() {
  if (typeof SharedWorker === "function") {
    try {
      const worker = new SharedWorker("/console/js/live-worker.js", { type: "module", name: "entrance-live" });
      worker.port.onmessage = (event) => heard(event.data);
      return (message) => worker.port.postMessage(message);
    } catch { /* then a stream of our own */ }
  }
  const hub = new Hub();
  const port = { postMessage: (message) => queueMicrotask(() => heard(message)) };
  return (message) => hub.hear(port, message);
}

export function start() {
  if (say) return;
  say = open();
  say({ say: "hello" });
  timer = setInterval(() => say({ say: "alive" }), 20_000);
}

export function stop() {
  if (!say) return;
  clearInterval(timer);
  say({ say: "bye" });
  say = null;
  connected.value = false;
}

addEventListener("pagehide", stop);
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

// ``watcher`` gets the rows that changed, or null: read anew.
export function onTasks(watcher) {
  taskWatchers.add(watcher);
  return () => taskWatchers.delete(watcher);
}

// ``log(lines, next)``: lines up to ``next``, perhaps some that are known; ``end()``: there will be no more.
export function follow(task, from, watcher) {
  logWatchers.set(task, watcher);
  say?.({ say: "follow", task, from });
  return () => {
    logWatchers.delete(task);
    say?.({ say: "unfollow", task });
  };
}
