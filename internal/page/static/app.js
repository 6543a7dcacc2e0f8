// The frame around the screens: what is shown, in which language and colours, and when it
// is drawn anew.

import { h, renew } from './dom.js';
import { takeToken, setToken, get } from './api.js';
import { live, watch } from './live.js';
import { t, language, setLanguage, languages } from './words.js';
import { map } from './map.js';
import { journey } from './journey.js';
import { schedulers } from './schedulers.js';
import { connections } from './connections.js';
import { doctor } from './doctor.js';
import { checks } from './checks.js';
import { bench } from './bench.js';

const screens = { map, journey, schedulers, connections, doctor, checks, bench };
const app = { about: { sources: [], paths: [], title: '' }, director: null, refused: false, now: null, stop: null, drawing: false };

const kept = (name, otherwise) => { try { return localStorage.getItem('uvs-' + name) || otherwise; } catch { return otherwise; } };
const keep = (name, value) => { try { localStorage.setItem('uvs-' + name, value); } catch { /* a browser that keeps nothing */ } };

function theme() {
  const chosen = kept('theme', 'auto');
  return chosen !== 'auto' ? chosen : matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
}

function dress() {
  document.documentElement.dataset.theme = theme();
  document.documentElement.lang = language() === 'zh' ? 'zh-CN' : 'en';
  document.getElementById('skip').textContent = t('skip');
}

// redraw draws the screen anew, once for all that changed until the next frame.
export function redraw() {
  if (app.drawing) return;
  app.drawing = true;
  requestAnimationFrame(() => { app.drawing = false; draw(); });
}

// say has a screen reader say something.
export const say = text => { document.getElementById('said').textContent = text; };

function draw() {
  renew(document.getElementById('top'), top());
  const main = h('main', { id: 'main', tabindex: '-1' });
  if (app.refused) main.append(entrance());
  else {
    main.append(h('h1', { id: 'title' }, t('screen.' + app.now)));
    if (live.lost) main.append(h('p', { class: 'warning error' }, t('lost', live.lost)));
    main.append(h('div', { id: 'screen-' + app.now }, screens[app.now].render(app)));
  }
  renew(document.getElementById('main'), main);
  document.title = (app.about.title ? app.about.title + ' · ' : '') + t('screen.' + app.now) + ' · uvs';
  screens[app.now].drawn?.();
}

function top() {
  return h('header', { id: 'top' },
    h('span', { class: 'name' }, 'uvs', h('small', null, app.about.title || (app.director ? app.director.version : ''))),
    h('nav', { 'aria-label': t('screens') }, h('ul', null, Object.keys(screens).map(name =>
      h('li', null, h('a', { href: '#/' + name, 'aria-current': name === app.now ? 'page' : null }, t('screen.' + name)))))),
    h('div', { class: 'choices' },
      h('select', { id: 'language', 'aria-label': t('language'), value: language(), onchange: e => { setLanguage(e.target.value); keep('language', e.target.value); dress(); redraw(); } },
        Object.entries(languages).map(([code, name]) => h('option', { value: code, lang: code }, name))),
      h('select', { id: 'theme', 'aria-label': t('theme'), value: kept('theme', 'auto'), onchange: e => { keep('theme', e.target.value); dress(); redraw(); } },
        ['auto', 'light', 'dark'].map(v => h('option', { value: v }, t('theme.' + v))))));
}

// entrance asks for the token.
function entrance() {
  return h('form', { id: 'entrance', onsubmit: e => { e.preventDefault(); setToken(document.getElementById('token').value.trim()); location.reload(); } },
    h('h1', { id: 'title' }, t('token.title')), h('p', null, t('token.text')),
    h('div', { class: 'row' }, h('label', null, t('token.label'), h('input', { id: 'token', type: 'password', autocomplete: 'off' })), h('button', { class: 'chief' }, t('token.go'))));
}

// go shows the screen that the address names.
function go() {
  const [, name, rest] = /^#\/(\w*)\/?(.*)$/.exec(location.hash) || [];
  const next = screens[name] ? name : 'map';
  const argument = decodeURIComponent(rest || '');
  const same = next === app.now, first = !app.now;
  if (!same) app.stop?.abort();
  app.now = next;
  if (!same && !app.refused) {
    app.stop = new AbortController();
    screens[next].enter?.(app, app.stop.signal);
  }
  screens[next].at?.(argument, app);
  draw();
  if (!same && !first) {
    document.getElementById('main').focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

async function start() {
  takeToken();
  setLanguage(kept('language', navigator.language.startsWith('zh') ? 'zh' : 'en'));
  dress();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', dress);
  try {
    const about = await get('/page/about');
    app.refused = about.token === 'needed';
    if (!app.refused) app.about = about;
    live.lost = about.lost || '';
  } catch (err) { live.lost = err.message; }
  addEventListener('hashchange', go);
  go();
  if (app.refused) return;
  if (!live.lost) get('/v1/about').then(a => { app.director = a; redraw(); }, () => {});
  watch(() => { if (!document.hidden && screens[app.now].live) redraw(); }).catch(() => { app.refused = true; redraw(); });
}

start();
