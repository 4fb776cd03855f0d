// What the browser remembers of this person: theme, language, that there is a session. Works without storage, too.
const memory = new Map();

export function recall(name) {
  try { return localStorage.getItem(`entrance.${name}`); } catch { return memory.get(name) ?? null; }
}

export function remember(name, value) {
  try {
    if (value === null) localStorage.removeItem(`entrance.${name}`);
    else localStorage.setItem(`entrance.${name}`, value);
  } catch { memory.set(name, value); }
}

// A value that components can watch.
export class Signal {
  #value; #watchers = new Set();
  constructor(value) { this.#value = value; }
  get value() { return this.#value; }
  set value(next) {
    if (next === this.#value) return;
    this.#value = next;
    for (const watcher of [...this.#watchers]) watcher(next);
  }
  watch(watcher) {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }
}
