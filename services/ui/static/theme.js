/* Runs before the first paint: the theme is chosen here, the system, or neither yet. */
(() => {
  let chosen = 'auto';
  try { chosen = localStorage.sbTheme || 'auto'; } catch { /* storage may be refused */ }
  const dark = chosen === 'dark' || (chosen === 'auto' && matchMedia('(prefers-color-scheme:dark)').matches);
  document.documentElement.dataset.theme = dark ? 'dark' : 'light';
})();
