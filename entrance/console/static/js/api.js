// The public REST API and nothing else: Linkis' envelope below /api/rest_j/v1, Singularity's plain JSON below /api.
import { Signal } from "./store.js";

export const LINKIS = "/api/rest_j/v1";

export const session = new Signal(null); // {user, admin} or null

export class ApiError extends Error {
  constructor(message, { http = 0, data = {} } = {}) {
    super(message);
    this.http = http;
    this.data = data;
  }
}

export function queryOf(values) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values ?? {})) {
    if (value !== undefined && value !== null && value !== "" && value !== false) query.append(name, value);
  }
  const text = query.toString();
  return text ? `?${text}` : "";
}

async function fetched(path, { method = "GET", body, query, signal } = {}) {
  const options = { method, signal, credentials: "same-origin", headers: { Accept: "application/json" } };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(path + queryOf(query), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("offline", { http: 0 });
  }
  let told = null;
  try { told = await response.json(); } catch (error) { if (error.name === "AbortError") throw error; }
  return [response, told];
}

// Data of an envelope; the body and the answer are what the contract of Linkis says.
export async function call(path, options) {
  const [response, told] = await fetched(LINKIS + path, options);
  if (response.status === 401) session.value = null;
  if (!told || told.status !== 0) {
    throw new ApiError(told?.message ?? `HTTP ${response.status}`, { http: response.status, data: told?.data });
  }
  return told.data;
}

export const post = (path, body = {}, options = {}) => call(path, { ...options, method: "POST", body });

// Singularity's endpoints.
export async function data(path, options) {
  const [response, told] = await fetched(`/api${path}`, options);
  if (response.status === 401) session.value = null;
  if (!response.ok) throw new ApiError(told?.err ?? told?.message ?? `HTTP ${response.status}`, { http: response.status });
  return told;
}
