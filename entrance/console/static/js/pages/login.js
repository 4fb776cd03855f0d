import { html, useRef, useState } from "../lib.js";
import { call, post } from "../api.js";
import { t } from "../i18n.js";
import { encrypted } from "../rsa.js";
import { Fault } from "../ui.js";

export function Login({ onLogin, switches }) {
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const password = useRef(null);
  const enter = async (event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setBusy(true);
    setError(null);
    try {
      const key = await call("/user/publicKey");
      const plain = form.get("password");
      await post("/user/login", {
        userName: form.get("user").trim().toLowerCase(),
        password: key.enableLoginEncrypt ? encrypted(plain, key.publicKey) : plain,
      });
      await onLogin();
    } catch (fault) {
      setError(fault);
      setBusy(false);
      password.current?.focus();
      password.current?.select();
    }
  };
  return html`<main class="login">
    <div class="login-card">
      <div class="brand"><img src="/console/favicon.svg" alt="" width="40" height="40" /><span>Entrance</span></div>
      <h1>${t("login.title")}</h1>
      <p class="muted">${t("login.hint")}</p>
      <form onSubmit=${enter}>
        <label class="field"><span>${t("login.user")}</span>
          <input name="user" autocomplete="username" autocapitalize="none" spellcheck=${false} required autofocus /></label>
        <label class="field"><span>${t("login.password")}</span>
          <input ref=${password} name="password" type="password" autocomplete="current-password" required /></label>
        ${error && html`<${Fault} error=${error} />`}
        <button class="button primary full" disabled=${busy}>${t("login.enter")}</button>
      </form>
    </div>
    ${switches}
  </main>`;
}
