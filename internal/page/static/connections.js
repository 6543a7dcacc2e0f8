// The connection table, filtered, and the life of one connection.

import { h, table, num } from './dom.js';
import { get, pause } from './api.js';
import { curves } from './chart.js';
import { clock, seconds } from './format.js';
import { t } from './words.js';
import { redraw } from './app.js';

const view = { filter: '', list: null, problem: '', life: null, key: '' };

const keyOf = c => [c.protocol, c.client, c.virtual].join(' ');

async function follow(signal) {
  while (!signal.aborted) {
    const began = performance.now();
    await read(signal);
    await pause(Math.max(1000, 10 * (performance.now() - began)), signal).catch(() => {});
  }
}

async function read(signal) {
  try {
    view.list = await get('/page/connections?' + new URLSearchParams({ filter: view.filter, limit: 200 }), signal);
    view.problem = '';
    if (view.key) await live(signal);
  } catch (err) {
    if (signal?.aborted) return;
    view.problem = err.message;
  }
  redraw();
}

// live takes the next point of the chosen connection's life.
async function live(signal) {
  const { client, virtual } = view.chosen;
  const found = (await get('/page/connections?' + new URLSearchParams({ filter: `client:${client} virtual:${virtual}`, limit: 1000 }), signal)).connections.find(c => keyOf(c) === view.key);
  const life = view.life ||= { points: [], changes: [] };
  const was = life.last, now = Date.now(), state = found ? found.state : t('conn.gone');
  if (!was || was.state !== state) life.changes.push({ at: now, state, packets: found?.packets_in ?? was?.packets });
  if (found) life.points.push({ at: now, left: found.expires_ms, packets: found.packets_in });
  if (life.points.length > 300) life.points.shift();
  life.last = { state, packets: found?.packets_in ?? was?.packets };
  life.entry = found || life.entry;
}

function choose(c) {
  view.key = view.key === keyOf(c) ? '' : keyOf(c);
  view.chosen = c;
  view.life = null;
  read();
}

function life() {
  const { entry, points, changes } = view.life, began = points[0]?.at ?? Date.now();
  const most = Math.max(...points.map(p => p.left), 1000);
  return h('section', { class: 'card', id: 'life' }, h('h2', null, t('conn.life')),
    h('p', { class: 'mono' }, `${entry?.protocol} ${entry?.client} → ${entry?.virtual} → ${entry?.server} ${entry?.method}`, entry?.local ? ' · ' + t('conn.local') + ' ' + entry.local : ''),
    h('ol', null, changes.map(c => h('li', null, clock(c.at), ' ', h('b', null, c.state || t('conn.template')), c.packets == null ? '' : ' · ' + t('conn.packets', c.packets)))),
    points.length ? curves(t('conn.left'), [{ label: t('conn.left'), points: points.map(p => [(p.at - began) / 1000, p.left]) }], { max: most, format: seconds }) : null,
    entry ? h('p', null, h('a', { href: '#/journey/' + encodeURIComponent(entry.client) }, t('conn.trace'))) : null);
}

export const connections = {
  enter: (app, signal) => { follow(signal); },
  at: argument => { if (argument) { view.filter = argument; read(); } },
  render() {
    const l = view.list;
    return [
      h('form', { class: 'row', onsubmit: e => { e.preventDefault(); read(); } }, h('label', null, t('filter'), h('input', { id: 'conn-filter', type: 'search', size: 34, value: view.filter, placeholder: 'state:established server:10.0.0.11', oninput: e => { view.filter = e.target.value; }, onchange: () => read() })), h('button', null, t('conn.go'))),
      h('p', { class: 'soft' }, t('conn.help')),
      view.problem ? h('p', { class: 'warning error' }, view.problem) : null,
      view.key && view.life ? life() : null,
      !l ? h('p', null, t('wait')) : table(t('conn.table', l.connections.length, l.matched, l.total),
        [t('conn.protocol'), t('conn.client'), t('conn.virtual'), t('server'), t('method'), t('conn.state'), num(t('conn.left')), num(t('conn.packets.n')), ''],
        l.connections.map(c => ({ attrs: { 'aria-selected': String(keyOf(c) === view.key) }, cells: [c.protocol || 'ip', c.client, c.virtual, c.server, c.method, c.template ? t('conn.template') + (c.pe_data ? ' ' + c.pe_data : '') : c.state, { text: seconds(c.expires_ms), class: 'number' }, c.packets_in,
          h('button', { 'aria-pressed': String(keyOf(c) === view.key), 'aria-label': t('conn.follow') + ' ' + c.client, onclick: () => choose(c) }, t('conn.follow'))] })))];
  },
};
