// Linkis' words and the extra fields beside them, as one state for people, with its colour.
const WORDS = {
  Inited: "created", Scheduled: "queued", Running: "running", Succeed: "succeeded", Failed: "failed",
  Cancelled: "cancelled", Timeout: "timeout",
};

export function stateOf(task) {
  const state = WORDS[task.status] ?? "created";
  if (ended(task)) return state;
  if (task.paused) return "paused";
  if (task.waitingRetry) return "retry";
  return state;
}

export const ended = (task) => ["Succeed", "Failed", "Cancelled", "Timeout"].includes(task.status);

// How long a task has run, in ms; that of a paused one stands still. null: it never ran.
export function ranFor(task) {
  if (!task.engineStartTime) return null;
  return (task.requestEndTime ?? (task.paused ? task.updatedTime : Date.now())) - task.engineStartTime;
}

export const troubled = (task) => task.status === "Failed" || task.status === "Timeout";

export const LEVELS = [["CRITICAL", 800], ["URGENT", 400], ["HIGH", 200], ["NORMAL", 100], ["LOW", 50], ["BACKGROUND", 0]];
export const levelOf = (priority) => LEVELS.find(([, least]) => priority >= least)[0];

// Filters of the tasks page: name -> states on the wire. The server does the filtering.
export const VIEWS = {
  all: "",
  active: "Running,Scheduled,Inited",
  running: "Running",
  queued: "Scheduled,Inited",
  paused: "Paused",
  succeeded: "Succeed",
  failed: "Failed,Timeout",
  cancelled: "Cancelled",
};
