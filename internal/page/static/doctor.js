// The doctor's findings, with what mends them.

import { h, table, num } from './dom.js';
import { get } from './api.js';
import { t } from './words.js';
import { clock } from './format.js';
import { redraw, say } from './app.js';

const view = { report: null, problem: '', busy: false, drops: null };

async function readDrops(app) {
  if (!app.about.paths.includes('/v1/drops')) return;
  try { view.drops = (await get('/v1/drops')).filter(d => d.frames > 0); } catch (err) { view.problem = err.message; }
  redraw();
}

const drops = () => [h('h2', null, t('drops.title')), view.drops.length ? table(t('drops.title'), [t('drops.reason'), num(t('drops.frames')), t('drops.means'), t('doctor.fix'), t('drops.last')],
  view.drops.map(d => [d.code, d.frames, { text: d.means, class: 'wrap' }, { text: d.fix, class: 'wrap' }, { text: d.last ? clock(d.last.time) + ' ' + d.last.packet : '', class: 'wrap' }])) : h('p', { class: 'good' }, '✓ ' + t('drops.none'))];

async function examine() {
  view.busy = true;
  view.problem = '';
  redraw();
  try { view.report = await get('/page/doctor'); } catch (err) { view.problem = err.message; }
  view.busy = false;
  if (view.report) say(t('doctor.found', view.report.findings.length));
  redraw();
}

const finding = f => h('article', { class: 'card warning' + (f.severity === 'error' ? ' error' : '') },
  h('h3', null, h('span', { class: f.severity === 'error' ? 'bad' : 'warn' }, (f.severity === 'error' ? '✗ ' : '! ') + f.code), ' ', f.name || '', f.host ? ' · ' + f.host : ''),
  h('p', null, f.summary),
  f.evidence?.length ? h('ul', { class: 'mono' }, f.evidence.map(e => h('li', null, e))) : null,
  f.why ? h('p', null, h('b', null, t('doctor.why')), ' ', f.why) : null,
  f.fix?.length ? [h('p', null, h('b', null, t('doctor.fix'))), h('pre', null, f.fix.map(x => (x.on ? x.on + '# ' : '# ') + x.command).join('\n'))] : null);

export const doctor = {
  enter: app => { readDrops(app); },
  render(app) {
    const r = view.report;
    return [view.drops ? drops() : null, h('h2', null, t('screen.doctor')), app.about.sources.includes('doctor') ? [
      h('p', { class: 'row' }, h('button', { class: 'chief', id: 'examine', disabled: view.busy, onclick: examine }, view.busy ? t('doctor.busy') : t('doctor.go')), h('span', { class: 'soft' }, t('doctor.text'))),
      view.problem ? h('p', { class: 'warning error' }, view.problem) : null,
      r ? [r.findings.length ? r.findings.map(finding) : h('p', { class: 'good' }, '✓ ' + t('doctor.clean', r.checks ?? '')), r.unseen?.length ? h('details', null, h('summary', null, t('doctor.unseen', r.unseen.length)), h('ul', null, r.unseen.map(u => h('li', null, u)))) : null] : null] : h('p', null, t('doctor.absent'))];
  },
};
