// One stream of server-sent events for all tabs. A browser opens six connections to a host at most, so that a stream for
// each tab would lock the others out. Tabs are ``ports``: objects with ``postMessage``; what they say comes in ``hear``.
//
// From a tab: {say: "hello" | "alive" | "bye"}, {say: "follow", task, from}, {say: "unfollow", task}.
// To a tab: {event: "up" | "down"}, {event: "tasks", rows} (null: read anew), {event: "log", ...}, {event: "logEnd", task}.

const URL_EVENTS = "/api/rest_j/v1/events";
const RETRY_MS = 3000;
const SILENT_MS = 150_000; // a hidden tab's timers run once a minute

export class Hub {
  #ports = new Map(); // port -> {tasks: Set, seen}
  #tails = new Map(); // task -> line to go on from
  #ended = new Set();
  #source = null;
  #timer = 0;

  hear(port, message) {
    const known = this.#ports.get(port) ?? { tasks: new Set(), seen: 0 };
    known.seen = Date.now();
    this.#ports.set(port, known);
    if (message.say === "hello") {
      port.postMessage({ event: this.#source?.readyState === 1 ? "up" : "down" });
      if (!this.#source) this.#connect();
    } else if (message.say === "follow") {
      known.tasks.add(message.task);
      if (this.#ended.has(message.task)) port.postMessage({ event: "logEnd", task: message.task });
      else if (!this.#tails.has(message.task)) {
        this.#tails.set(message.task, message.from);
        this.#connectSoon();
      }
    } else if (message.say === "unfollow") {
      known.tasks.delete(message.task);
      this.#prune();
    } else if (message.say === "bye") {
      this.#ports.delete(port);
      this.#prune();
    }
  }

  #tell(message, task) {
    const now = Date.now();
    for (const [port, known] of [...this.#ports]) {
      if (now - known.seen > SILENT_MS) this.#ports.delete(port);
      else if (task === undefined || known.tasks.has(task)) port.postMessage(message);
    }
    if (!this.#ports.size) this.#close();
  }

  #prune() {
    for (const task of [...this.#tails.keys()]) {
      if (![...this.#ports.values()].some((known) => known.tasks.has(task))) this.#tails.delete(task);
    }
    if (!this.#ports.size) this.#close();
  }

  #close() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#source?.close();
    this.#source = null;
  }

  #connectSoon(ms = 50) {
    this.#timer ||= setTimeout(() => this.#connect(), ms);
  }

  #connect() {
    this.#close();
    if (!this.#ports.size) return;
    const query = [...this.#tails].map(([task, from]) => `log=${task}:${from}`).slice(-16).join("&");
    const source = (this.#source = new EventSource(query ? `${URL_EVENTS}?${query}` : URL_EVENTS));
    const mine = (handle) => (event) => { if (source === this.#source) handle(event.data ? JSON.parse(event.data) : null); };
    source.onopen = mine(() => {
      this.#tell({ event: "up" });
      this.#tell({ event: "tasks", rows: null }); // what happened between two streams
    });
    source.onerror = () => {
      if (source !== this.#source) return;
      this.#close(); // the browser's own retry would ask for the old lines again
      this.#tell({ event: "down" });
      if (this.#ports.size) this.#connectSoon(RETRY_MS);
    };
    source.addEventListener("tasks", mine((rows) => this.#tell({ event: "tasks", rows })));
    source.addEventListener("missed", mine(() => this.#tell({ event: "tasks", rows: null })));
    source.addEventListener("log", mine((told) => {
      this.#tails.set(told.taskID, told.fromLine);
      this.#tell({ event: "log", task: told.taskID, lines: told.lines, next: told.fromLine }, told.taskID);
    }));
    source.addEventListener("logEnd", mine((told) => {
      this.#tails.delete(told.taskID);
      this.#ended.add(told.taskID);
      this.#tell({ event: "logEnd", task: told.taskID }, told.taskID);
    }));
    source.addEventListener("goodbye", mine(() => source.onerror()));
  }
}
