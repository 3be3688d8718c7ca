// Shadowbook in the browser: figures of charts, hints, ages, theme, navigation, pausing. No dependency.
(() => {
  'use strict';
  const doc = document, root = doc.documentElement, MINUS = '\u2212';
  const format = (options) => new Intl.NumberFormat('en-US', options);
  const two = format({minimumFractionDigits: 2, maximumFractionDigits: 2});
  const whole = format({maximumFractionDigits: 0});
  const some = format({maximumFractionDigits: 2});
  const esc = (text) => String(text).replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
  const when = (ms) => new Date(ms).toLocaleString('en-GB',
    {weekday: 'short', day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit'});
  const full = (ms) => `${when(ms)} (${new Date(ms).toISOString().slice(0, 19).replace('T', ' ')} UTC)`;

  const sb = window.sb = {
    usd: (v) => (v < 0 ? MINUS : '') + '$' + two.format(Math.abs(v)),
    usd0: (v) => (v < 0 ? MINUS : '') + '$' + whole.format(Math.abs(v)),
    pct: (v) => (v < 0 ? MINUS : '') + some.format(Math.abs(v)) + '%',
    // Tooltip of a time chart; a series whose name starts with _ is in per cent.
    tip: (points) => {
      const list = (Array.isArray(points) ? points : [points]).filter((point) => point.value?.[1] != null);
      if (!list.length) return '';
      const rows = list.map((point) => {
        const isPercent = point.seriesName[0] === '_';
        return `<tr><td><i class="sb-sw" style="--c:${esc(point.color)}"></i>` +
          `${esc(isPercent ? point.seriesName.slice(1) : point.seriesName)}</td>` +
          `<td>${isPercent ? sb.pct(point.value[1]) : sb.usd(point.value[1])}</td></tr>`;
      });
      return `<div class="sb-ect"><div class="sb-tm">${esc(when(list[0].axisValue))}</div>` +
        `<table>${rows.join('')}</table></div>`;
    },
    // The server's word on the corner of the top bar.
    status: (html) => {
      const corner = doc.getElementById('sb-status');
      if (!corner) return;
      const held = corner.contains(doc.activeElement);
      corner.innerHTML = html;
      if (held) corner.querySelector('button')?.focus({preventScroll: true});
      tick();
    },
  };

  // Theme: the head script set it before the first paint; this follows the button and the system.
  const system = matchMedia('(prefers-color-scheme:dark)');
  function paint() {
    let chosen = 'auto';
    try { chosen = localStorage.sbTheme || 'auto'; } catch { /* storage may be refused */ }
    const dark = chosen === 'dark' || (chosen === 'auto' && system.matches);
    root.dataset.theme = dark ? 'dark' : 'light';
    if (window.setDark && window.Quasar) try { window.setDark(dark); } catch { /* not mounted yet */ }
  }
  system.addEventListener('change', paint);

  // Ages and clocks.
  const AGES = [[86400, 'd'], [3600, 'h'], [60, 'min']];
  function age(seconds) {
    const found = AGES.find(([size]) => seconds >= size);
    return found ? `${Math.floor(seconds / found[0])} ${found[1]}` : `${Math.max(0, Math.floor(seconds))} s`;
  }
  function tick() {
    const now = Date.now();
    for (const element of doc.querySelectorAll('time[data-ago]')) {
      const text = age((now - element.dataset.ago) / 1000) + element.dataset.suffix;
      if (element.textContent !== text) element.textContent = text;
      if (!element.title) element.title = full(+element.dataset.ago);
    }
    for (const element of doc.querySelectorAll('time[data-at]')) {
      const text = new Date(+element.dataset.at).toLocaleTimeString('en-GB', {hour: '2-digit', minute: '2-digit'});
      if (element.textContent !== text) {
        element.textContent = text;
        element.title = full(+element.dataset.at);
      }
    }
  }
  setInterval(tick, 1000);

  // One look per cadence, and only while somebody looks.
  const look = () => { if (!doc.hidden && window.emitEvent) window.emitEvent('sb_look'); };
  setInterval(look, 10000);
  doc.addEventListener('visibilitychange', look);

  // Hints, on hover and on focus; text only.
  let hint;
  function showHint(element) {
    if (!hint) {
      hint = doc.body.appendChild(Object.assign(doc.createElement('div'), {id: 'sb-tip'}));
      hint.setAttribute('role', 'tooltip');
    }
    hint.textContent = element.dataset.tip;
    hint.classList.add('sb-on');
    const box = element.getBoundingClientRect(), above = box.top - hint.offsetHeight - 6;
    hint.style.left = Math.max(8, Math.min(innerWidth - hint.offsetWidth - 8, box.left)) + 'px';
    hint.style.top = (above > 0 ? above : box.bottom + 6) + 'px';
    element.setAttribute('aria-describedby', 'sb-tip');
  }
  const hideHint = () => hint && hint.classList.remove('sb-on');
  for (const kind of ['pointerover', 'focusin'])
    doc.addEventListener(kind, (event) => {
      const element = event.target.closest?.('[data-tip]');
      if (element) showHint(element); else hideHint();
    });

  // A block that is replaced gives the focus back to the same place in it.
  const PLACES = 'a,button,[tabindex]';
  let held = null;
  doc.addEventListener('focusin', (event) => {
    const block = event.target.closest('.sb-panel');
    held = block && {block, element: event.target, place: [...block.querySelectorAll(PLACES)].indexOf(event.target)};
  });
  new MutationObserver(() => {
    if (!held || held.element.isConnected || !held.block.isConnected) return;
    const next = held.block.querySelectorAll(PLACES)[held.place];
    held = null;
    if (next && doc.activeElement === doc.body) next.focus({preventScroll: true});
  }).observe(root, {childList: true, subtree: true});

  // One toast at a time; errors stay until closed.
  let timer;
  function toast(words, {bad = false, action = null} = {}) {
    const bar = doc.getElementById('sb-toast') ||
      doc.body.appendChild(Object.assign(doc.createElement('div'), {id: 'sb-toast'}));
    clearTimeout(timer);
    bar.setAttribute('role', bad ? 'alert' : 'status');
    bar.className = bad ? 'sb-on sb-bad' : 'sb-on';
    bar.replaceChildren(Object.assign(doc.createElement('span'), {textContent: words}));
    const close = () => { bar.className = ''; bar.replaceChildren(); };
    if (bad || action) {
      const button = doc.createElement('button');
      button.className = 'sb-link';
      button.textContent = action ? action.label : 'Close';
      button.onclick = () => { close(); action?.run(); };
      bar.append(button);
    }
    if (!bad) timer = setTimeout(close, 5000);
  }

  // Pausing goes the same way as everybody's: through the API.
  async function setPaused(paused, mayUndo) {
    const buttons = doc.querySelectorAll('#sb-status button');
    buttons.forEach((button) => { button.disabled = true; });
    let answer = null;
    try {
      answer = await fetch('/api/control/pause', {
        method: 'POST', headers: {'content-type': 'application/json'}, body: JSON.stringify({paused}),
      });
    } catch { /* told below */ }
    buttons.forEach((button) => { button.disabled = false; });
    if (answer?.status === 401) return location.assign('/login');
    if (!answer?.ok) {
      return toast(`Copying was not ${paused ? 'paused' : 'resumed'}: the dashboard or its database does not answer. ` +
        'Try again in a moment.', {bad: true});
    }
    look();
    const undo = {label: 'Undo', run: () => setPaused(!paused, false)};
    return toast(paused ? 'Copying is paused' : 'Copying goes on', {action: mayUndo ? undo : null});
  }

  const nav = () => doc.querySelector('.sb-nav');
  function openNav(open) {
    if (!nav() || nav().classList.contains('sb-open') === open) return;
    nav().classList.toggle('sb-open', open);
    const button = doc.querySelector('[data-act=menu][aria-controls]');
    button?.setAttribute('aria-expanded', String(open));
    (open ? nav().querySelector('a.sb-i') : button)?.focus();
  }

  const ACTIONS = {
    theme: () => {
      try { localStorage.sbTheme = root.dataset.theme === 'dark' ? 'light' : 'dark'; } catch { /* as it is */ }
      paint();
    },
    menu: () => openNav(!nav().classList.contains('sb-open')),
    pause: () => setPaused(true, true),
    resume: () => setPaused(false, true),
    copy: (button) => navigator.clipboard?.writeText(button.dataset.text).then(() => toast('Copied')),
  };
  doc.addEventListener('click', (event) => {
    const button = event.target.closest?.('[data-act]');
    if (button) ACTIONS[button.dataset.act]?.(button);
  });
  doc.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    hideHint();
    openNav(false);
  });

  // A chart would swallow the plain wheel: the page scrolls, ctrl + wheel zooms.
  doc.addEventListener('wheel', (event) => {
    if (!event.ctrlKey && !event.metaKey && event.target.closest?.('.nicegui-echart')) event.stopPropagation();
  }, {capture: true, passive: true});
  if (doc.readyState === 'loading') doc.addEventListener('DOMContentLoaded', tick); else tick();
})();
