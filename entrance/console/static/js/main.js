// The shell: who is logged in, where we are, language and theme.
import { html, render, useEffect, useState } from "./lib.js";
import { call, post, session } from "./api.js";
import { useLoad, useSignal } from "./load.js";
import { href, useRoute } from "./route.js";
import { lang, setLang, t } from "./i18n.js";
import { recall, remember } from "./store.js";
import { count } from "./format.js";
import { Bar, Button, Empty, Icon, Toasts } from "./ui.js";
import * as live from "./live.js";
import { Login } from "./pages/login.js";
import { Tasks } from "./pages/tasks.js";
import { TaskPage } from "./pages/task.js";
import { Submit } from "./pages/submit.js";
import { Preparation, Preparations } from "./pages/preparations.js";

const PAGES = [["tasks", "tasks"], ["submit", "submit"], ["preparations", "data"]];
const THEMES = ["auto", "light", "dark"];

function Page({ route, parts: [name = "tasks", id] }) {
  if (name === "tasks" && id) return html`<${TaskPage} key=${id} id=${id} query=${route.query} />`;
  if (name === "tasks") return html`<${Tasks} query=${route.query} />`;
  if (name === "submit") return html`<${Submit} key=${route.query.from ?? ""} query=${route.query} />`;
  if (name === "preparations" && id) return html`<${Preparation} key=${id} id=${id} query=${route.query} />`;
  if (name === "preparations") return html`<${Preparations} query=${route.query} />`;
  return html`<${Empty} title=${t("nothing.here")}><a href=${href("tasks")}>${t("nav.tasks")}</a><//>`;
}

export function Switches() {
  const now = useSignal(lang);
  const [theme, setTheme] = useState(recall("theme") ?? "auto");
  const turn = () => {
    const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    remember("theme", next === "auto" ? null : next);
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    setTheme(next);
    dispatchEvent(new Event("themechange"));
  };
  return html`<div class="switches">
    <${Button} kind="ghost small" label=${t("switch.language")} onClick=${() => setLang(now === "zh" ? "en" : "zh")}>
      ${now === "zh" ? "English" : "中文"}<//>
    <${Button} kind="ghost square" icon=${{ auto: "auto", light: "sun", dark: "moon" }[theme]}
      label=${t("switch.theme", { theme: t(`theme.${theme}`) })} onClick=${turn} />
  </div>`;
}

function Queue() {
  const { data, reload } = useLoad((signal) => call("/service/queue", { signal }), [], { every: 5000 });
  useEffect(() => live.onTasks(() => reload(1000)), []);
  const up = useSignal(live.connected);
  return html`<div class="queue">
    <div class="live ${up ? "up" : ""}"><i></i>${t(up ? "live.up" : "live.down")}</div>
    ${data && html`
      <${Bar} fraction=${data.slots ? data.slotsUsed / data.slots : 0} label=${t("queue.slots")} />
      <div class="queue-line"><span>${t("queue.slots")}</span><b>${data.slotsUsed} / ${data.slots}</b></div>
      <div class="queue-line"><span>${t("state.running")}</span><b>${count(data.running)}</b></div>
      <div class="queue-line"><span>${t("queue.waiting")}</span><b>${count(data.waiting)}</b></div>
      ${!data.online && html`<div class="notice warn">${t("queue.offline")}</div>`}
      ${[...new Set(Object.values(data.held))].map((why) => html`<div class="notice warn" key=${why}>
        ${t("queue.held", { names: Object.keys(data.held).filter((name) => data.held[name] === why).join(", "), why })}</div>`)}`}
  </div>`;
}

function Shell({ who }) {
  const route = useRoute();
  const parts = route.parts.length ? route.parts : ["tasks"];
  useEffect(() => {
    live.start();
    return live.stop;
  }, []);
  useEffect(() => {
    const [name, id] = parts;
    document.title = `${id ? `${id} · ` : ""}${PAGES.some(([p]) => p === name) ? t(`nav.${name}`) : ""} · Entrance`;
    document.getElementById("main")?.scrollTo(0, 0);
  }, [parts.join("/")]);
  const leave = async () => {
    try { await post("/user/logout"); } catch { /* the session is over in any case */ }
    remember("user", null);
    session.value = null;
  };
  return html`<a class="skip" href="#main" onClick=${(e) => { e.preventDefault(); document.getElementById("main").focus(); }}>
      ${t("skip")}</a>
    <div class="shell">
      <aside class="side">
        <a class="brand" href=${href("tasks")}><img src="/console/favicon.svg" alt="" width="28" height="28" /><span>Entrance</span></a>
        <nav aria-label=${t("nav.label")}>${PAGES.map(([name, icon]) => html`
          <a href=${href(name)} aria-current=${parts[0] === name ? "page" : undefined}><${Icon} name=${icon} /><span>${t(`nav.${name}`)}</span></a>`)}
        </nav>
        <${Queue} />
        <div class="me"><div class="who"><b>${who.user}</b><small>${t(who.admin ? "role.admin" : "role.user")}</small></div>
          <${Switches} /><${Button} kind="ghost square" icon="out" label=${t("logout")} onClick=${leave} /></div>
      </aside>
      <main id="main" tabindex="-1"><${Page} route=${route} parts=${parts} /></main>
    </div>`;
}

function App() {
  useSignal(lang);
  const who = useSignal(session);
  const [asked, setAsked] = useState(!recall("user"));
  useEffect(() => {
    document.documentElement.lang = lang.value === "zh" ? "zh-CN" : "en";
  });
  useEffect(() => {
    if (asked) return;
    whoAmI().catch(() => { session.value = null; }).finally(() => setAsked(true));
  }, []);
  if (!asked) return null;
  return html`${who ? html`<${Shell} who=${who} />` : html`<${Login} onLogin=${whoAmI} switches=${html`<${Switches} />`} />`}<${Toasts} />`;
}

async function whoAmI() {
  const { userName } = await call("/user/userInfo");
  const { admin } = await call("/jobhistory/governanceStationAdmin");
  remember("user", userName);
  session.value = { user: userName, admin };
}

render(html`<${App} />`, document.getElementById("app"));
