// Reports of uvs bench: verdicts, values, and two of them side by side.

import { h, table, num } from './dom.js';
import { get } from './api.js';
import { strip } from './chart.js';
import { short } from './format.js';
import { t } from './words.js';
import { redraw } from './app.js';

const view = { list: null, name: '', other: '', report: null, changes: null, problem: '' };
const signs = { faster: '▲', slower: '▼', equivalent: '=', inconclusive: '?', INVALID: '✗' };
const classes = { faster: 'good', slower: 'bad', INVALID: 'bad' };

async function list() {
  try { view.list = (await get('/page/reports')).reports; } catch (err) { view.problem = err.message; }
  redraw();
}

async function read() {
  view.report = view.changes = null;
  view.problem = '';
  redraw();
  try {
    if (view.name) view.report = await get('/page/report?' + new URLSearchParams({ name: view.name }));
    if (view.name && view.other) view.changes = (await get('/page/compare?' + new URLSearchParams({ old: view.other, new: view.name }))).changes;
  } catch (err) { view.problem = err.message; }
  redraw();
}

const better = e => e ? `${((e.median - 1) * 100).toFixed(1)} % [${((e.lo - 1) * 100).toFixed(1)}, ${((e.hi - 1) * 100).toFixed(1)}]` : '';
const verdict = v => h('span', { class: classes[v] || '' }, (signs[v] || '') + ' ' + v);

const changes = (caption, rows, base) => table(caption, [t('bench.target'), t('bench.verdict'), t('bench.measure'), base ? t('bench.baseline') : '', num(t('bench.old')), num(t('bench.new')), t('bench.better'), num('p'), num(t('bench.claim'))],
  rows.map(c => [c.target, verdict(c.verdict), c.measure, c.baseline || '', { text: short(c.old), class: 'number' }, { text: short(c.new), class: 'number' }, better(c.better), { text: c.p.toFixed(3), class: 'number' }, { text: c.claim >= 1 ? '–' : (c.claim * 100).toFixed(1) + ' %', class: 'number' }]));

function report(r) {
  const run = r.run, measures = new Map();
  for (const v of r.series || []) {
    const name = v.name + ' ' + v.unit;
    if (!measures.has(name)) measures.set(name, []);
    measures.get(name).push({ label: v.target, values: v.values || [] });
  }
  return [
    h('div', { class: 'figures' }, h('div', null, h('b', null, run.kind), t('bench.kind')), h('div', null, h('b', null, run.noise.grade), t('bench.noise')), h('div', null, h('b', null, run.meta.revision || '–'), t('bench.revision'))),
    (r.warnings || []).map(w => h('p', { class: 'warning' }, w)),
    run.beside?.length ? changes(t('bench.beside'), run.beside, true) : null,
    [...measures].map(([name, groups]) => strip(name, groups, short)),
    h('details', null, h('summary', null, t('bench.values')), table(t('bench.values'), [t('bench.target'), t('bench.measure'), t('bench.values')], (r.series || []).map(v => [v.target, v.name + ' ' + v.unit, { text: (v.values || []).map(short).join('  '), class: 'wrap' }]))),
    run.notes?.length ? h('ul', { class: 'soft' }, run.notes.map(n => h('li', null, n))) : null];
}

export const bench = {
  enter: app => { if (app.about.sources.includes('reports')) list(); },
  render(app) {
    if (!app.about.sources.includes('reports')) return h('p', null, t('bench.absent'));
    const names = (view.list || []).map(r => r.name);
    const choose = (id, label, empty) => h('label', null, label, h('select', { id, value: view[id === 'report' ? 'name' : 'other'], onchange: e => { view[id === 'report' ? 'name' : 'other'] = e.target.value; read(); } }, h('option', { value: '' }, empty), names.map(n => h('option', { value: n }, n))));
    return [
      view.problem ? h('p', { class: 'warning error' }, view.problem) : null,
      view.list && !names.length ? h('p', null, t('bench.none')) : h('div', { class: 'row' }, choose('report', t('bench.report'), t('bench.choose')), choose('other', t('bench.other'), t('bench.alone'))),
      view.changes ? changes(t('bench.compare', view.other, view.name), view.changes) : null,
      view.report ? report(view.report) : null];
  },
};
