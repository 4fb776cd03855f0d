// The address: "#/tasks?status=Failed&page=2". What a page shows is in it, so any view is a link.
import { useEffect, useState } from "./lib.js";

function read() {
  const text = location.hash.replace(/^#\/?/, "");
  const [path, query = ""] = text.split("?", 2);
  return { parts: path.split("/").filter(Boolean).map(decodeURIComponent), query: Object.fromEntries(new URLSearchParams(query)) };
}

export function href(path, query = {}) {
  const kept = Object.entries(query).filter(([, v]) => v !== undefined && v !== null && v !== "" && v !== false);
  const text = new URLSearchParams(kept.map(([k, v]) => [k, String(v)])).toString();
  return `#/${path}${text ? `?${text}` : ""}`;
}

export function go(path, query = {}) {
  location.hash = href(path, query);
}

// Changes some of the query; what is empty goes. ``replace`` leaves no step in the history.
export function setQuery(changes, { replace = false } = {}) {
  const { parts, query } = read();
  const to = href(parts.map(encodeURIComponent).join("/"), { ...query, ...changes });
  if (to === location.hash) return;
  if (replace) {
    history.replaceState(null, "", to);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else location.hash = to;
}

export function useRoute() {
  const [route, setRoute] = useState(read);
  useEffect(() => {
    const changed = () => setRoute(read());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}
