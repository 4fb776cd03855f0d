// Hooks that fetch: what was there stays on the page while something newer is on its way.
import { useCallback, useEffect, useRef, useState } from "./lib.js";

export function useSignal(signal) {
  const [value, setValue] = useState(signal.value);
  useEffect(() => {
    setValue(signal.value);
    return signal.watch(setValue);
  }, [signal]);
  return value;
}

// Returns {data, error, loading, reload}. ``load(signal)`` runs at first, when ``deps`` change, every ``every`` ms while the
// page is looked at (and once when it is looked at again), and at ``reload()``; calls of reload that come close together count once.
export function useLoad(load, deps, { every = 0 } = {}) {
  const [state, setState] = useState({ data: null, error: null, loading: true });
  const current = useRef({ load, abort: null, timer: 0, stale: false });
  current.current.load = load;

  const run = useCallback(async () => {
    const here = current.current;
    clearTimeout(here.timer);
    here.timer = 0;
    here.abort?.abort();
    const abort = (here.abort = new AbortController());
    try {
      const data = await here.load(abort.signal);
      if (here.abort === abort) setState({ data, error: null, loading: false });
    } catch (error) {
      if (here.abort === abort && error.name !== "AbortError") setState((old) => ({ ...old, error, loading: false }));
    } finally {
      if (here.abort === abort) here.abort = null;
    }
  }, []);

  const reload = useCallback((soon = 300) => {
    const here = current.current;
    if (soon === 0) return run();
    if (document.hidden) { here.stale = true; return undefined; }
    here.timer ||= setTimeout(run, soon);
    return undefined;
  }, []);

  useEffect(() => {
    setState((old) => ({ ...old, loading: true }));
    run();
    return () => {
      clearTimeout(current.current.timer);
      current.current.timer = 0;
      current.current.abort?.abort();
      current.current.abort = null;
    };
  }, deps);

  useEffect(() => {
    const shown = () => {
      if (document.hidden || !current.current.stale) return;
      current.current.stale = false;
      run();
    };
    document.addEventListener("visibilitychange", shown);
    return () => document.removeEventListener("visibilitychange", shown);
  }, []);

  useEffect(() => {
    if (!every) return undefined;
    const timer = setInterval(() => {
      if (document.hidden) current.current.stale = true;
      else if (!current.current.abort) run();
    }, every);
    return () => clearInterval(timer);
  }, [every]);

  return { ...state, reload };
}
