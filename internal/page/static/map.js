// The map: clients, directors and servers, with what flows between them; in a lab every
// node and network.

import { h, s, table, num } from './dom.js';
import { get } from './api.js';
import { live, serverName } from './live.js';
import { short, bits } from './format.js';
import { t } from './words.js';
import { redraw } from './app.js';

const MOST = 40; // cards of one service
const view = { lab: null, chosen: '', filter: '', rates: {} };

async function readLab(app, signal) {
  if (!app.about.sources.includes('lab')) return;
  while (!signal.aborted) {
    try { view.lab = await get('/page/lab', signal); } catch { /* shown as it was */ }
    redraw();
    await new Promise(done => setTimeout(done, 3000));
  }
}

// rateOf sums what a server's address does over all services.
function rateOf(address) {
  const sum = { cps: 0, in: 0, out: 0, bytes: 0, active: 0, of: [] };
  for (const name of live.order) for (const r of live.services[name].servers || []) {
    if (address && r.address !== address) continue;
    sum.cps += r.stats.connections_per_second;
    sum.in += r.stats.packets_in_per_second;
    sum.out += r.stats.packets_out_per_second;
    sum.bytes += r.stats.bytes_in_per_second + r.stats.bytes_out_per_second;
    sum.active += r.active_connections;
    sum.of.push({ name, server: r });
  }
  return sum;
}

const rateLine = r => `${short(r.cps)} ${t('cps')} · ${short(r.in)}/${short(r.out)} ${t('pps')}`;

const node = (id, kind, title, ...lines) => h('button', {
  class: 'node ' + kind, id: 'node-' + id, 'data-node': id, 'aria-pressed': String(view.chosen === id),
  onclick: () => { view.chosen = view.chosen === id ? '' : id; redraw(); },
}, h('b', null, title), lines.map(l => l ? h('small', null, l) : null));

// columns of the map, each a list of nodes; and its links [from, to, packets a second].
function plan() {
  return view.lab ? planLab() : planPlain();
}

function planPlain() {
  const totals = live.totals, links = [], servers = new Map();
  const services = live.order.filter(name => name.includes(view.filter) || !view.filter);
  const vips = services.slice(0, MOST).map(name => {
    const v = live.services[name];
    links.push(['director', 'vip-' + name, v.stats.packets_in_per_second + v.stats.packets_out_per_second]);
    for (const r of (v.servers || []).slice(0, MOST)) {
      servers.set(serverName(r), r);
      links.push(['vip-' + name, 'rs-' + serverName(r), r.stats.packets_in_per_second + r.stats.packets_out_per_second]);
    }
    return node('vip-' + name, '', name, v.scheduler, rateLine({ cps: v.stats.connections_per_second, in: v.stats.packets_in_per_second, out: v.stats.packets_out_per_second }));
  });
  links.push(['clients', 'director', (totals.packets_in_per_second || 0) + (totals.packets_out_per_second || 0)]);
  const real = [...servers].slice(0, MOST).map(([name, r]) => node('rs-' + name, r.weight === 0 ? 'off' : '', name, `${r.method} · ${t('weight')} ${r.weight}`, rateLine(rateOf(r.address))));
  return { columns: [[node('clients', '', t('map.clients'))], [node('director', '', t('map.director'), rateLine({ cps: totals.connections_per_second, in: totals.packets_in_per_second, out: totals.packets_out_per_second }))], vips, real], links };
}

const rank = { client: 0, router: 2, director: 4, 'real server': 6 };

function planLab() {
  const top = view.lab.topology, columns = [[], [], [], [], [], [], []], links = [], middle = {};
  for (const n of top.nodes) {
    const services = view.lab.services.filter(v => v.node === n.name);
    const dead = services.some(v => !v.running);
    const addresses = n.interfaces.flatMap(i => i.addresses.map(a => a.prefix));
    const own = n.interfaces.flatMap(i => i.addresses.map(a => a.prefix.split('/')[0]));
    let rate = null;
    if (n.role === 'director') rate = { cps: live.totals.connections_per_second, in: live.totals.packets_in_per_second, out: live.totals.packets_out_per_second };
    if (n.role === 'real server') rate = own.map(rateOf).find(r => r.of.length) || null;
    n.interfaces.forEach(i => {
      (middle[i.network] ||= []).push(rank[n.role] ?? 6);
      links.push(['node-' + n.name, 'net-' + i.network, rate ? (rate.in || 0) + (rate.out || 0) : n.role === 'real server' ? 0 : live.totals.packets_in_per_second || 0]);
    });
    columns[rank[n.role] ?? 6].push(node('node-' + n.name, dead ? 'off' : '', n.name, t('role.' + (n.role in rank ? n.role : 'other')), addresses[0] + (addresses.length > 1 ? ' +' + (addresses.length - 1) : ''),
      dead ? t('map.dead') : null, rate ? rateLine(rate) : null));
  }
  for (const net of top.networks) {
    const at = (middle[net.name] || [0]), x = Math.min(...at) === Math.max(...at) ? Math.max(1, at[0] - 1) : Math.round((Math.min(...at) + Math.max(...at)) / 2) | 1;
    columns[Math.min(x, 5)].push(node('net-' + net.name, 'net', net.name));
  }
  return { columns: columns.filter(c => c.length), links };
}

// wire draws the links between the cards, wherever these are.
function wire() {
  const box = document.getElementById('map');
  if (!box) return;
  const frame = box.getBoundingClientRect(), drawn = [];
  const centre = id => { const r = document.getElementById('node-' + id)?.getBoundingClientRect(); return r && { x: r.x - frame.x + r.width / 2, y: r.y - frame.y + r.height / 2, w: r.width / 2, h: r.height / 2 }; };
  const across = getComputedStyle(box).gridAutoFlow === 'column';
  for (const [from, to, pps] of view.links || []) {
    let a = centre(from), b = centre(to);
    if (!a || !b) continue;
    if (across ? a.x > b.x : a.y > b.y) [a, b] = [b, a];
    const d = across ? `M${a.x + a.w} ${a.y}C${(a.x + a.w + b.x - b.w) / 2} ${a.y} ${(a.x + a.w + b.x - b.w) / 2} ${b.y} ${b.x - b.w} ${b.y}` : `M${a.x} ${a.y + a.h}L${b.x} ${b.y - b.h}`;
    const path = s('path', { d, class: pps > 0 ? 'busy' : null });
    path.style.strokeWidth = String(pps > 0 ? Math.min(1.5 + Math.log10(1 + pps), 7) : 1.2);
    drawn.push(path);
  }
  document.getElementById('wires').replaceChildren(...drawn);
}

addEventListener('resize', () => wire());

function details() {
  const id = view.chosen;
  if (!id) return h('p', { class: 'soft' }, t('map.choose'));
  const [kind, name] = [id.slice(0, id.indexOf('-')), id.slice(id.indexOf('-') + 1)];
  if (kind === 'node' && view.lab) return labNode(view.lab.topology.nodes.find(n => n.name === name));
  if (kind === 'net' && view.lab) return labNetwork(name);
  if (kind === 'vip' && live.services[name]) return h('section', { class: 'card' }, h('h3', null, name), servers(name));
  if (kind === 'rs') return h('section', { class: 'card' }, h('h3', null, name), rateOf().of.filter(o => serverName(o.server) === name).map(o => h('p', null, h('a', { href: '#/connections/' + encodeURIComponent('server:' + name) }, t('map.conns', o.name)))));
  return h('section', { class: 'card' }, h('h3', null, t('map.totals')), totals());
}

function labNode(n) {
  if (!n) return null;
  const services = view.lab.services.filter(v => v.node === n.name);
  return h('section', { class: 'card' }, h('h3', null, n.name),
    h('p', null, t('role.' + (n.role in rank ? n.role : 'other')), n.gateway ? ' · ' + t('map.gateway') + ' ' + n.gateway : ''),
    h('ul', null, n.interfaces.map((i, k) => h('li', null, `eth${k} (${i.network}): `, i.addresses.map(a => a.prefix).join(', ')))),
    services.length ? h('ul', null, services.map(v => h('li', null, h('span', { class: v.running ? 'good' : 'bad' }, (v.running ? '✓ ' : '✗ ') + v.name), ' ', h('code', null, v.command.join(' '))))) : null,
    n.setup?.length ? h('pre', null, n.setup.map(c => c.join(' ')).join('\n')) : null,
    n.role === 'director' ? totals() : null);
}

const labNetwork = name => {
  const net = view.lab.topology.networks.find(n => n.name === name);
  return net && h('section', { class: 'card' }, h('h3', null, name), h('p', null, 'MTU ', net.mtu || 1500),
    h('ul', null, view.lab.topology.nodes.flatMap(n => n.interfaces.filter(i => i.network === name).map(i => h('li', null, n.name, ': ', i.addresses.map(a => a.prefix).join(', '))))));
};

const totals = () => h('div', { class: 'figures' }, [
  ['connections', live.totals.connections], ['cps', live.totals.connections_per_second], ['in', live.totals.packets_in_per_second], ['out', live.totals.packets_out_per_second]]
  .map(([name, v]) => h('div', null, h('b', null, short(v ?? 0)), t('total.' + name))), h('div', null, h('b', null, bits((live.totals.bytes_in_per_second || 0) + (live.totals.bytes_out_per_second || 0))), t('total.bits')));

const servers = name => table(t('map.servers', name),
  [t('server'), t('method'), num(t('weight')), num(t('active')), num(t('inactive')), num(t('cps')), num(t('total.in')), num(t('total.out')), num(t('rate'))],
  (live.services[name].servers || []).slice(0, 500).map(r => [serverName(r), r.method, r.weight, r.active_connections, r.inactive_connections, short(r.stats.connections_per_second), short(r.stats.packets_in_per_second), short(r.stats.packets_out_per_second), bits(r.stats.bytes_in_per_second + r.stats.bytes_out_per_second)]
    .map((c, i) => i < 2 ? c : { text: String(c), class: 'number' })));

export const map = {
  live: true,
  enter: (app, signal) => { readLab(app, signal); },
  render() {
    const { columns, links } = plan();
    view.links = links;
    return [
      view.lab ? h('p', { class: 'soft' }, view.lab.topology.title) : null,
      live.order.length > MOST ? h('p', { class: 'row' }, h('label', null, t('filter'), h('input', { id: 'map-filter', value: view.filter, oninput: e => { view.filter = e.target.value; redraw(); } })), t('map.most', MOST, live.order.length)) : null,
      h('div', { class: 'scroll' }, h('div', { class: 'map', id: 'map', role: 'group', 'aria-label': t('screen.map') }, s('svg', { id: 'wires', 'aria-hidden': 'true' }, ...document.getElementById('wires')?.cloneNode(true).childNodes || []), columns.map(c => h('div', { class: 'column' }, c)))),
      h('div', { 'aria-live': 'off' }, details()),
      live.order.length ? live.order.slice(0, MOST).map(servers) : h('p', null, t('map.none'))];
  },
  drawn: wire,
};
