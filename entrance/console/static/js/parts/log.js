// A log of any length: only the lines in view are on the page, and only those near them in memory.
//
// Without a filter, lines are fetched by their numbers in blocks, where one looks. With a level or a search, the log is read
// from its start and what fits is kept. New lines come with the event stream, or by asking once a second without it.
import { call } from "../api.js";

export const BLOCK = 500;
const SCAN = 5000; // lines of one request while filtering
const MOST_MATCHES = 20_000;
const MOST_BLOCKS = 200; // held; the ones looked at longest ago go
const HEAD = /[0-9\-/]{10} [0-9:]{8}.?\d{0,3} (?:SYSTEM-)?(ERROR|WARN|INFO) /;

export const levelOf = (line, before) => HEAD.exec(line)?.[1] ?? before ?? "INFO";

export class LogStore {
  #ref; #blocks = new Map(); #changed; #fetching = new Map(); #stopped = new AbortController(); #generation = 0;
  total = 0; // lines known to be there
  ended = false;
  filter = null; // {level, text} or null
  matches = []; // [number, line, level]
  scanned = 0;
  ready = false;
  error = null;

  constructor(ref, changed) { this.#ref = ref; this.#changed = changed; }

  stop() { this.#stopped.abort(); }

  async #read(from, size) {
    const told = await call(`/entrance/${this.#ref}/log`, {
      query: { fromLine: String(from), size, distinctLevel: "false" }, signal: this.#stopped.signal,
    });
    const many = told.fromLine - from;
    return many > 0 ? told.log.split("\n").slice(0, many) : [];
  }

  // Finds out how long the log is: doubling, then halving, one line each.
  async open() {
    try {
      const head = await this.#read(0, BLOCK);
      this.#put(0, head);
      if (head.length === BLOCK) {
        const there = async (line) => (await this.#read(line, 1)).length > 0;
        let low = BLOCK - 1;
        let high = BLOCK * 2;
        while (await there(high)) { low = high; high *= 4; }
        while (high - low > 1) {
          const middle = Math.floor((low + high) / 2);
          if (await there(middle)) low = middle; else high = middle;
        }
        this.total = Math.max(this.total, low + 1);
        await this.need(this.total - BLOCK, this.total);
      }
      this.ready = true;
    } catch (error) { this.#fail(error); }
    this.#changed();
  }

  #fail(error) {
    if (error.name !== "AbortError") { this.error = error; this.ready = true; }
  }

  #put(from, lines) {
    lines.forEach((line, i) => {
      const number = from + i;
      const block = Math.floor(number / BLOCK);
      let held = this.#blocks.get(block);
      if (!held) this.#blocks.set(block, (held = []));
      held[number % BLOCK] = line;
    });
    this.total = Math.max(this.total, from + lines.length);
  }

  line(number) { return this.#blocks.get(Math.floor(number / BLOCK))?.[number % BLOCK]; }

  level(number) {
    for (let at = number; at >= Math.max(0, number - 200); at -= 1) {
      const line = this.line(at);
      if (line === undefined) break;
      const level = HEAD.exec(line)?.[1];
      if (level) return level;
    }
    return "INFO";
  }

  // Sees to it that lines [from, to) are there; fetches what is missing, each block once.
  async need(from, to) {
    const first = Math.floor(Math.max(0, from) / BLOCK);
    const last = Math.floor(Math.max(0, Math.min(to, this.total) - 1) / BLOCK);
    const jobs = [];
    for (let block = first; block <= last; block += 1) {
      const held = this.#blocks.get(block);
      const wanted = Math.min(BLOCK, this.total - block * BLOCK);
      let complete = Boolean(held) && held.length >= wanted;
      for (let i = 0; complete && i < wanted; i += 1) complete = held[i] !== undefined;
      if (complete) { this.#blocks.delete(block); this.#blocks.set(block, held); continue; }
      if (!this.#fetching.has(block)) {
        this.#fetching.set(block, this.#read(block * BLOCK, BLOCK)
          .then((lines) => { this.#put(block * BLOCK, lines); this.#changed(); })
          .catch((error) => this.#fail(error))
          .finally(() => this.#fetching.delete(block)));
      }
      jobs.push(this.#fetching.get(block));
    }
    await Promise.all(jobs);
    for (const block of this.#blocks.keys()) {
      if (this.#blocks.size <= MOST_BLOCKS) break;
      this.#blocks.delete(block);
    }
  }

  // Lines from the event stream: they reach up to ``next`` and may begin before the end that is known, or behind it.
  told(lines, next) {
    const from = next - lines.length;
    this.#put(from, lines);
    if (this.filter) this.#scan();
    this.#changed();
  }

  // Asks for what is new.
  async poll() {
    try {
      for (;;) {
        const from = this.total;
        const lines = await this.#read(from, SCAN);
        if (!lines.length) break;
        this.#put(from, lines);
        this.#changed();
        if (lines.length < SCAN) break;
      }
      this.error = null;
      if (this.filter) this.#scan();
    } catch (error) { this.#fail(error); this.#changed(); }
  }

  setFilter(filter) {
    this.#generation += 1;
    this.filter = filter.level || filter.text ? filter : null;
    this.matches = [];
    this.scanned = 0;
    this.#scanning = false;
    if (this.filter) this.#scan();
    this.#changed();
  }

  #scanning = false;
  #lastLevel = "INFO";

  async #scan() {
    if (this.#scanning) return;
    this.#scanning = true;
    const generation = this.#generation;
    const { level, text } = this.filter;
    const wanted = text?.toLowerCase();
    if (this.scanned === 0) this.#lastLevel = "INFO";
    try {
      while (this.scanned < this.total && this.matches.length < MOST_MATCHES) {
        const from = this.scanned;
        const lines = await this.#read(from, SCAN);
        if (generation !== this.#generation) return;
        if (!lines.length) break;
        lines.forEach((line, i) => {
          this.#lastLevel = levelOf(line, this.#lastLevel);
          const fits = (!level || this.#lastLevel === level || (level === "WARN" && this.#lastLevel === "ERROR"))
            && (!wanted || line.toLowerCase().includes(wanted));
          if (fits) this.matches.push([from + i, line, this.#lastLevel]);
        });
        this.scanned = from + lines.length;
        this.#changed();
      }
    } catch (error) { this.#fail(error); } finally {
      if (generation === this.#generation) { this.#scanning = false; this.#changed(); }
    }
  }

  // The line where a failed task went wrong: the last error that is not the service's own word about the end.
  failure() {
    let found = -1;
    for (let at = this.total - 1; at >= Math.max(0, this.total - BLOCK * 2); at -= 1) {
      const line = this.line(at);
      if (line === undefined) break;
      if (HEAD.exec(line)?.[1] !== "ERROR") continue;
      if (found < 0) found = at;
      if (!line.includes("Sorry, your job executed failed")) return at;
    }
    return found;
  }

  // The whole log as text parts.
  async *whole() {
    for (let from = 0; ;) {
      const lines = await this.#read(from, 10_000);
      if (!lines.length) return;
      yield `${lines.join("\n")}\n`;
      from += lines.length;
    }
  }
}
