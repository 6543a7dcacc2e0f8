// Schedulers: each server's share over time beside the ideal by weight, and what another
// scheduler or other weights would do.

import { h, table, num } from './dom.js';
import { get } from './api.js';
import { live, serverName, shares, jain } from './live.js';
import { curves } from './chart.js';
import { percent, short } from './format.js';
import { t } from './words.js';
import { redraw, say } from './app.js';

const all = ['rr', 'wrr', 'lc', 'wlc', 'lblc', 'lblcr', 'sh', 'dh', 'mh', 'sed', 'nq', 'fo', 'ovf'];
const WINDOW = 60, CURVES = 8;
const view = { service: '', what: { names: 'wlc', weights: '', slow: '', rate: '', lasts: '1', connections: '2000', clients: '100', seconds: '10' }, twins: null, replays: null, records: false, problem: '', busy: false };

const chosen = () => live.services[view.service] ? view.service : live.order[0] || '';

// over returns the share of each server in the seconds before each moment.
function over(name) {
  const points = live.history.filter(p => p.services[name]), now = points.at(-1)?.at;
  const service = live.services[name], weights = service.servers.reduce((n, r) => n + r.weight, 0);
  return service.servers.slice(0, CURVES).map(r => {
    const key = serverName(r), curve = [];
    points.forEach((p, i) => {
      let j = i;
      while (j > 0 && p.at - points[j].at < 10_000) j--;
      const got = k => Math.max((p.services[name][k]?.conns ?? 0) - (points[j].services[name][k]?.conns ?? 0), 0);
      const sum = Object.keys(p.services[name]).reduce((n, k) => n + got(k), 0);
      if (sum > 0) curve.push([(p.at - now) / 1000, got(key) / sum]);
    });
    return { label: key, points: curve, ideal: weights ? r.weight / weights : 0 };
  });
}

function actual(name) {
  const rows = shares(name, WINDOW), j = jain(rows), got = rows.reduce((n, r) => n + r.got, 0);
  return [
    h('div', { class: 'figures' }, h('div', null, h('b', null, live.services[name].scheduler), t('scheduler')), h('div', null, h('b', null, short(got)), t('sched.got', WINDOW)), h('div', null, h('b', null, j == null ? '–' : j.toFixed(3)), t('sched.jain'))),
    curves(t('sched.curve'), over(name), { note: t('sched.note') }),
    table(t('sched.table', name), [t('server'), num(t('weight')), num(t('sched.ideal')), num(t('sched.share')), t('sched.bar'), num(t('sched.n')), num(t('active')), num(t('inactive')), num(t('sched.overhead'))],
      rows.slice(0, 500).map(r => [r.name, r.server.weight, { text: percent(r.ideal), class: 'number' }, { text: percent(r.share), class: 'number' }, bar(r.share, r.ideal), r.got, r.server.active_connections, r.server.inactive_connections,
        { text: r.server.weight ? short((256 * r.server.active_connections + r.server.inactive_connections) / r.server.weight) : '–', class: 'number' }]))];
}

// bar is a share as a bar, with a mark at the ideal.
const bar = (share, ideal) => h('span', { class: 'bar', 'aria-hidden': 'true' }, h('i', { vars: { width: 100 * (share || 0) + '%' } }), h('u', { vars: { left: 100 * ideal + '%' } }));

async function simulate(name) {
  const w = view.what, service = live.services[name];
  const numbers = text => text.split(',').map(v => v.trim()).filter(Boolean).map(Number);
  const weights = w.weights ? numbers(w.weights) : service?.servers.map(r => r.weight) || [1, 1];
  const slow = numbers(w.slow);
  const workload = { scheduler: 'rr', servers: weights.map((weight, i) => ({ weight, slow: slow[i] || 1 })), connections: Number(w.connections), rate: Number(w.rate || service?.stats.connections_per_second || 100), lasts: w.lasts + 's', clients: Number(w.clients), seed: 1 };
  view.busy = true;
  redraw();
  try {
    view.twins = (await get('/page/what-if?' + new URLSearchParams({ schedulers: w.names.replaceAll(' ', ''), workload: JSON.stringify(workload) }))).twins;
    view.problem = '';
    say(t('sched.done'));
  } catch (err) { view.problem = err.message; }
  view.busy = false;
  redraw();
}

// replay records live traffic for a while and replays it otherwise.
async function replay(name) {
  view.busy = true;
  redraw();
  try {
    view.replays = (await get('/page/replay?' + new URLSearchParams({ service: name, seconds: view.what.seconds, schedulers: view.what.names.replaceAll(' ', ''), weights: view.what.weights.replaceAll(' ', '') }))).comparisons;
    view.problem = '';
    say(t('sched.done'));
  } catch (err) { view.problem = err.message; }
  view.busy = false;
  redraw();
}

const shareList = r => r.servers.map(v => percent(v.picks / (r.connections || 1))).join('  ');

const replays = list => table(t('what.replayed', list[0].recorded.connections), [t('scheduler'), t('what.recorded'), t('what.replay'), num(t('sched.jain')), num(t('what.moved')), num(t('what.clients.moved')), num(t('what.refused'))],
  list.map(c => [c.replayed.scheduler, shareList(c.recorded), shareList(c.replayed), { text: c.recorded.jain.toFixed(3) + ' → ' + c.replayed.jain.toFixed(3), class: 'number' }, c.moved, { text: c.moved_clients + ' / ' + c.clients, class: 'number' }, c.replayed.refused]));

function field(name, label, attrs) {
  return h('label', null, label, h('input', { id: 'what-' + name, size: 9, value: view.what[name], oninput: e => { view.what[name] = e.target.value; }, ...attrs }));
}

function whatIf(name) {
  const service = live.services[name];
  return h('section', null, h('h2', null, t('what.title')), h('p', { class: 'soft' }, t('what.text')),
    h('form', { onsubmit: e => { e.preventDefault(); simulate(name); } }, h('div', { class: 'row' },
      field('names', t('what.names'), { list: 'schedulers' }), h('datalist', { id: 'schedulers' }, all.map(v => h('option', { value: v }))),
      field('weights', t('what.weights'), { placeholder: service ? service.servers.slice(0, 6).map(r => r.weight).join(',') : '1,1' }),
      field('slow', t('what.slow'), { placeholder: '1,1' }), field('rate', t('what.rate'), { inputmode: 'decimal', placeholder: '100' }), field('lasts', t('what.lasts'), { inputmode: 'decimal' }),
      field('connections', t('what.connections'), { inputmode: 'numeric' }), field('clients', t('what.clients'), { inputmode: 'numeric' }),
      h('button', { class: 'chief', id: 'what-go', disabled: view.busy }, t('what.go')))),
    name && view.records ? h('div', { class: 'row' }, field('seconds', t('what.seconds'), { inputmode: 'numeric' }), h('button', { id: 'replay-go', disabled: view.busy, onclick: () => replay(name) }, view.busy ? t('wait') : t('what.replay.go')), h('span', { class: 'soft' }, t('what.replay.text'))) : null,
    view.problem ? h('p', { class: 'warning error' }, view.problem) : null,
    view.replays ? replays(view.replays) : null,
    view.twins ? twins(view.twins) : null);
}

const twins = list => [
  table(t('what.result'), [t('scheduler'), num(t('sched.jain')), num(t('what.run')), num(t('what.same')), num(t('what.refused')), t('what.shares')],
    list.map(w => [w.scheduler, { text: w.report.jain.toFixed(4), class: 'number' }, w.report.longest_run, { text: percent(w.report.same_client), class: 'number' }, w.report.refused, w.report.servers.map(v => percent(v.picks / (w.report.connections || 1))).join('  ')])),
  list.map(w => curves(t('what.curve', w.scheduler), w.report.servers.slice(0, CURVES).map((v, i) => ({
    label: t('what.server', v.server, v.weight), ideal: v.ideal / (w.report.connections || 1),
    points: w.curve.map(p => [p.at_s, p.picks[i] / (p.picks.reduce((a, b) => a + b, 0) || 1)]) }))))];

export const schedulers = {
  live: true,
  enter: app => { view.records = app.about.paths.includes('/v1/services/{service}/recording'); },
  at: argument => { if (argument) view.service = argument; },
  render() {
    const name = chosen();
    return [
      live.order.length ? h('p', { class: 'row' }, h('label', null, t('service'), h('select', { id: 'service', value: name, onchange: e => { view.service = e.target.value; redraw(); } }, live.order.slice(0, 1000).map(n => h('option', { value: n }, n + ' ' + live.services[n].scheduler))))) : h('p', null, t('map.none')),
      name ? actual(name) : null,
      whatIf(name)];
  },
};
