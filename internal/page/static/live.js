// What the director says once a second, and what it said before.

import { events, pause, Refused } from './api.js';

const KEPT = 240, SERVERS = 50_000; // points of history, and servers in all of them

export const live = {
  at: null, order: [], services: {}, totals: {}, counters: {},
  lost: '', // why there is nothing new
  history: [], // {at, services: {name: {server: {conns, active}}}, in, out}
};

export const serverName = v => (v.address.includes(':') ? `[${v.address}]` : v.address) + ':' + v.port;

function take(v, whole) {
  live.at = v.at;
  live.order = v.order;
  const all = whole ? v.services : { ...live.services, ...v.services };
  live.services = Object.fromEntries(v.order.map(name => [name, all[name]]));
  live.counters = whole ? v.counters || {} : { ...live.counters, ...v.counters };
  live.totals = v.totals || {};
  const point = { at: Date.parse(v.at), services: {}, in: live.totals.packets_in, out: live.totals.packets_out };
  for (const name of live.order) {
    const servers = {};
    for (const r of live.services[name].servers || []) servers[serverName(r)] = { conns: r.stats.connections, active: r.active_connections };
    point.services[name] = servers;
    point.size = (point.size || 0) + (live.services[name].servers || []).length;
  }
  if (whole) live.history = live.history.filter(p => p.at < point.at);
  live.history.push(point);
  let counted = live.history.reduce((n, p) => n + (p.size || 0), 0);
  while (live.history.length > KEPT || counted > SERVERS && live.history.length > 2) counted -= live.history.shift().size || 0;
}

// watch keeps live up to date and calls changed after each event, for ever.
export async function watch(changed) {
  let last = '';
  for (;;) {
    try {
      for await (const e of events('/page/live', undefined, last)) {
        if (e.id) last = e.id;
        if (e.name === 'view') { take(e.data, true); live.lost = ''; }
        else if (e.name === 'change') { take(e.data, false); live.lost = ''; }
        else if (e.name === 'lost') live.lost = e.data;
        changed();
      }
      live.lost = 'closed';
    } catch (err) {
      if (err instanceof Refused && err.status === 401) throw err;
      live.lost = err.message || 'closed';
    }
    changed();
    await pause(1500);
  }
}

// shares returns how many connections each server got in the last seconds, and the ideal
// by weight.
export function shares(name, seconds) {
  const service = live.services[name];
  if (!service) return [];
  const now = live.history.at(-1), from = live.history.find(p => p.at >= now.at - seconds * 1000 && p.services[name]) || now;
  const weights = service.servers.reduce((n, r) => n + r.weight, 0);
  const rows = service.servers.map(r => {
    const key = serverName(r), then = from.services[name]?.[key]?.conns ?? r.stats.connections;
    return { server: r, name: key, got: Math.max(r.stats.connections - then, 0), ideal: weights ? r.weight / weights : 0 };
  });
  const sum = rows.reduce((n, r) => n + r.got, 0);
  for (const r of rows) r.share = sum ? r.got / sum : null;
  return rows;
}

// jain is Jain's index of what servers got by their weight: 1 if all have their share.
export function jain(rows) {
  const y = rows.filter(r => r.server.weight > 0).map(r => r.got / r.server.weight);
  const sum = y.reduce((a, b) => a + b, 0), squares = y.reduce((a, b) => a + b * b, 0);
  return squares ? sum * sum / (y.length * squares) : null;
}
