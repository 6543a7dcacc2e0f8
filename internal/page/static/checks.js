// Checks of real servers, what goes over to another director, and what happened.

import { h, table, num } from './dom.js';
import { get, events, pause } from './api.js';
import { live, serverName } from './live.js';
import { clock } from './format.js';
import { t } from './words.js';
import { redraw } from './app.js';

const KEPT = 300;
const view = { checks: null, daemons: null, vips: null, events: [], told: true };

async function read(app, signal) {
  const known = path => app.about.paths.includes(path) ? get(path, signal).catch(() => null) : null;
  while (!signal.aborted) {
    [view.checks, view.daemons, view.vips] = await Promise.all(['/v1/checks', '/v1/daemons', '/v1/vips'].map(known));
    redraw();
    await pause(2000, signal).catch(() => {});
  }
}

async function listen(app, signal) {
  view.told = app.about.paths.includes('/v1/events');
  view.events = [];
  let last = '';
  while (view.told && !signal.aborted) {
    try {
      for await (const e of events('/v1/events?follow=true', signal, last)) {
        last = e.id || last;
        view.events.unshift(e.data);
        view.events.length = Math.min(view.events.length, KEPT);
        redraw();
      }
    } catch { /* the director has ended, and may come back */ }
    await pause(2000, signal).catch(() => {});
  }
}

const state = c => h('span', { class: c.state === 'up' ? 'good' : c.state === 'down' ? 'bad' : 'warn' }, (c.state === 'up' ? '✓ ' : c.state === 'down' ? '✗ ' : '? ') + c.state);
const probe = p => p && (p.answer || p.probes || p.ok) ? (p.ok ? '✓ ' : '✗ ') + (p.answer || '') : '';

const yes = v => h('span', { class: v ? 'good' : 'warn' }, v ? '✓' : '–', h('span', { class: 'unseen' }, ' ' + t(v ? 'yes' : 'no')));

// keyName writes a service's key as the API's paths have it.
const keyName = k => k.mark ? 'mark:' + k.mark : k.protocol + ':' + serverName(k);

function checked() {
  if (view.checks === null) return h('p', { class: 'soft' }, t('checks.absent'));
  const list = Array.isArray(view.checks) ? view.checks : view.checks.checks || [];
  if (!list.length) return h('p', { class: 'soft' }, t('checks.none'));
  return table(t('checks.table'), [t('service'), t('server'), t('checks.kind'), t('checks.state'), t('checks.vip'), t('checks.own'), t('checks.held'), 'ARP', t('checks.since'), t('checks.result')],
    list.map(c => [typeof c.service === 'string' ? c.service : keyName(c.service), c.server, c.check?.kind || '', state(c), probe(c.vip), probe(c.own), c.held ? t('checks.held') : '', c.answers_arp ? h('span', { class: 'bad' }, '✗ ' + t('checks.arp')) : '', c.since ? clock(c.since) : '', { text: c.result || '', class: 'wrap' }]));
}

function servers() {
  const rows = live.order.flatMap(name => live.services[name].servers.map(r => [name, serverName(r), r.weight, h('span', { class: r.held || r.weight === 0 || r.overloaded ? 'warn' : 'good' }, r.held ? t('checks.held') : r.weight === 0 ? t('checks.drains') : r.overloaded ? t('checks.full') : '✓ ' + t('checks.takes')), r.active_connections, { text: [r.refusals?.no_reply, r.refusals?.resets, r.refusals?.unreachable].map(n => n || 0).join(' / '), class: 'number' }]));
  return rows.length ? table(t('checks.servers'), [t('service'), t('server'), num(t('weight')), t('checks.state'), num(t('active')), num(t('checks.refusals'))], rows.slice(0, 500)) : null;
}

const event = e => [clock(e.time), h('span', { class: { error: 'bad', warn: 'warn' }[e.level] || '' }, e.level), e.event, { text: e.message, class: 'wrap' }, { text: Object.entries(e.attributes || {}).map(([k, v]) => k + '=' + (typeof v === 'object' ? JSON.stringify(v) : v)).join(' '), class: 'wrap' }];

export const checks = {
  live: true,
  enter: (app, signal) => { read(app, signal); listen(app, signal); },
  render: () => [
    h('h2', null, t('checks.title')), checked(), servers(),
    h('h2', null, t('checks.takeover')),
    view.vips?.length ? table(t('checks.vips'), [t('service'), t('checks.role'), t('checks.answers'), t('checks.serves')], view.vips.map(v => [typeof v.service === 'string' ? v.service : keyName(v.service), v.vip_role, yes(v.answers), yes(v.serves)])) : null,
    view.daemons?.length ? table(t('checks.daemons'), [t('checks.state'), t('checks.interface'), 'syncid'], view.daemons.map(d => [d.state, d.interface || '', String(d.sync_id ?? d.syncid ?? '')])) : h('p', { class: 'soft' }, t('checks.nodaemons')),
    h('h2', null, t('checks.events')),
    view.events.length ? table(t('checks.events'), [t('checks.time'), t('checks.level'), t('checks.event'), t('checks.message'), t('checks.details')], view.events.map(event)) : h('p', { class: 'soft' }, view.told ? t('checks.quiet') : t('checks.untold'))],
};
