// Before the first paint: the theme that was chosen here, if any. A classic script, so that nothing flashes.
(() => {
  let theme = null;
  try { theme = localStorage.getItem("entrance.theme"); } catch { /* storage may be closed */ }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
