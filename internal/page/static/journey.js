// The journey: packets as the director took them, one step after the other, with the
// headers before and after. The answer can be hidden, to guess it.

import { h, table } from './dom.js';
import { get, records } from './api.js';
import { live, serverName } from './live.js';
import { layers, compare, fromChanges } from './decode.js';
import { clock, micro } from './format.js';
import { t, stage } from './words.js';
import { redraw, say } from './app.js';

const KEPT = 1000;
const view = { packets: [], at: -1, step: 0, count: 20, filter: '', neighbours: false, recording: null, problem: '', quiz: false, guesses: new Map(), score: [0, 0], speed: 1, playing: null, meanings: {}, wanted: '', taken: 0, dry: { protocol: 'tcp', source: '', destination: '', flags: '' } };

async function record() {
  view.recording?.abort();
  const stop = view.recording = new AbortController();
  view.problem = '';
  redraw();
  try {
    const query = new URLSearchParams({ n: view.count, neighbours: view.neighbours, frames: true, filter: view.filter });
    for await (const p of records('/v1/trace?' + query, stop.signal)) take(p);
    say(t('journey.done', view.packets.length));
  } catch (err) { if (!stop.signal.aborted) view.problem = err.message; }
  if (view.recording === stop) view.recording = null;
  redraw();
}

function take(p) {
  p.id = ++view.taken;
  if (p.meaning) view.meanings[p.verdict] = p.meaning;
  view.packets.push(p);
  if (view.packets.length > KEPT) { view.packets.shift(); view.at--; }
  if (view.at < 0) show(0);
  redraw();
}

function show(i) {
  if (i < 0 || i >= view.packets.length) return;
  view.at = i;
  const p = view.packets[i];
  view.step = hidden(p) ? 0 : p.steps.length - 1;
  explain(p.verdict);
  redraw();
}

// foretell asks what would become of a packet now, and of the server's answer.
async function foretell() {
  view.problem = '';
  try {
    const { flags, ...rest } = view.dry;
    const e = await get('/page/explain?' + new URLSearchParams({ packet: JSON.stringify(flags ? { ...rest, flags } : rest) }));
    take(e);
    show(view.packets.length - 1);
    if (e.reply) take(e.reply);
    say(e.line);
  } catch (err) { view.problem = err.message; }
  redraw();
}

function dryForm() {
  const field = (name, label, attrs) => h('label', null, label, h('input', { id: 'dry-' + name, value: view.dry[name], oninput: e => { view.dry[name] = e.target.value; }, ...attrs }));
  return h('details', { id: 'dry' }, h('summary', null, t('dry.title')), h('p', { class: 'soft' }, t('dry.text')),
    h('form', { class: 'row', onsubmit: e => { e.preventDefault(); foretell(); } }, field('protocol', t('conn.protocol'), { size: 5, list: 'protocols' }), h('datalist', { id: 'protocols' }, ['tcp', 'udp', 'sctp', 'icmp'].map(v => h('option', { value: v }))),
      field('source', t('dry.source'), { size: 20, placeholder: '172.16.0.9:5000', required: true }), field('destination', t('dry.destination'), { size: 20, placeholder: '10.0.0.100:80', required: true }), field('flags', t('dry.flags'), { size: 8, placeholder: 'syn' }), h('button', { id: 'dry-go' }, t('dry.go'))));
}

// number names a packet; one that was never sent has none.
const number = p => p.number ? '#' + p.number : t('dry.mark');

// explain asks what a verdict means.
function explain(code) {
  if (!code || code in view.meanings || !view.explains) return;
  view.meanings[code] = null;
  get('/v1/verdicts/' + encodeURIComponent(code)).then(m => { view.meanings[code] = m; redraw(); }, () => {});
}

function move(by) {
  const p = view.packets[view.at];
  if (!p) return;
  const step = view.step + by, last = hidden(p) ? question(p) : p.steps.length - 1;
  if (step >= 0 && step <= last) view.step = step;
  else if (step < 0 && view.at > 0) { show(view.at - 1); view.step = hidden(view.packets[view.at]) ? 0 : view.packets[view.at].steps.length - 1; }
  else if (step > last && !hidden(p) && view.at < view.packets.length - 1) { show(view.at + 1); view.step = 0; }
  redraw();
}

function play() {
  if (view.playing) { clearInterval(view.playing); view.playing = null; redraw(); return; }
  view.playing = setInterval(() => move(1), 1500 / view.speed);
  redraw();
}

const keys = e => {
  if (['INPUT', 'SELECT'].includes(e.target.nodeName)) return;
  const by = { ArrowRight: 1, ArrowLeft: -1 }[e.key], packet = { ArrowDown: 1, ArrowUp: -1 }[e.key];
  if (by) move(by);
  else if (packet) show(view.at + packet);
  else return;
  e.preventDefault();
};

// outcome says where a packet went: a server, the client, the host, the director, nowhere.
function outcome(p) {
  if (p.verdict === 'pass') return 'host';
  if (p.verdict.startsWith('drop')) return 'dropped';
  if (p.verdict !== 'forward' && p.verdict !== 'queued') return 'director';
  const conn = p.steps.filter(s => s.stage === 'conn').map(s => s.what).join(' ');
  if (p.side === 'reply' || /reply of the server/.test(conn)) return 'client';
  const pick = p.steps.find(s => s.pick)?.pick;
  return p.server || pick?.candidates?.find(c => c.server === pick.chosen)?.addr || (/→ (\S+)/.exec(conn) || [])[1] || 'director';
}

const hidden = p => view.quiz && !view.guesses.has(p.id);

// question is the last step that may be seen before the answer.
const question = p => Math.max(0, p.steps.findIndex(s => s.pick || s.stage === 'conn') - 1);

function choices(p) {
  const servers = new Set(live.order.flatMap(n => live.services[n].servers.map(serverName)).slice(0, 8));
  for (const s of p.steps) for (const c of s.pick?.candidates || []) servers.add(c.addr);
  const truth = outcome(p);
  if (!['host', 'dropped', 'director', 'client'].includes(truth)) servers.add(truth);
  return [...servers, 'client', 'host', 'director', 'dropped'];
}

const named = where => ['client', 'host', 'director', 'dropped'].includes(where) ? t('to.' + where) : where;

function guess(p, where) {
  const right = where === outcome(p);
  view.guesses.set(p.id, where);
  view.score = [view.score[0] + (right ? 1 : 0), view.score[1] + 1];
  say(right ? t('quiz.right') : t('quiz.wrong', named(outcome(p))));
  view.step = p.steps.length - 1;
  redraw();
}

function controls() {
  return h('form', { class: 'row', onsubmit: e => { e.preventDefault(); if (view.recording) view.recording.abort(); else record(); } },
    h('button', { class: 'chief', id: 'record' }, view.recording ? t('journey.stop') : t('journey.record')),
    h('button', { type: 'button', id: 'last', onclick: () => get('/v1/trace/last').then(take, err => { view.problem = err.message; redraw(); }) }, t('journey.last')),
    h('label', null, t('journey.count'), h('input', { id: 'count', type: 'number', min: 1, max: 1000, value: String(view.count), oninput: e => { view.count = Number(e.target.value) || 20; } })),
    h('label', null, t('filter'), h('input', { id: 'trace-filter', size: 24, value: view.filter, placeholder: 'host 172.16.0.9 and port 80', oninput: e => { view.filter = e.target.value; } })),
    h('label', null, h('input', { type: 'checkbox', checked: view.neighbours, onchange: e => { view.neighbours = e.target.checked; } }), t('journey.neighbours')),
    h('label', null, h('input', { type: 'checkbox', id: 'quiz', checked: view.quiz, onchange: e => { view.quiz = e.target.checked; show(view.at); redraw(); } }), t('journey.quiz')),
    view.quiz ? h('span', { id: 'score' }, t('quiz.score', ...view.score)) : null);
}

const event = (p, i) => h('li', null, h('button', { 'aria-current': i === view.at ? 'true' : null, onclick: () => show(i) },
  number(p) + ' ' + p.packet, h('br'), h('span', { class: 'soft' }, clock(p.time) + ' ' + p.interface + ' · '), hidden(p) ? '?' : verdict(p)));

const verdict = p => h('span', { class: p.verdict.startsWith('drop') ? 'bad' : p.verdict === 'forward' ? 'good' : 'warn' }, (p.verdict.startsWith('drop') ? '✗ ' : p.verdict === 'forward' ? '✓ ' : '· ') + p.verdict, outcome(p).includes('.') || outcome(p).includes(':') ? ' → ' + outcome(p) : '');

function packet(p) {
  const secret = hidden(p), changes = p.steps.flatMap(s => s.changes || []);
  const framed = p.frame && p.sent?.length;
  const [before, after] = framed ? compare(layers(p.frame), layers(p.sent[0].frame)) : p.frame && !changes.length ? [layers(p.frame), []] : fromChanges(changes);
  const notes = changes.filter(c => c.note);
  return h('div', { id: 'packet' },
    h('h2', null, number(p) + ' ' + p.packet), h('p', null, secret ? t('quiz.ask') : verdict(p), secret ? '' : ' · ' + micro(p.took_ns)),
    h('div', { class: 'row' }, h('button', { id: 'back', onclick: () => move(-1) }, '← ' + t('journey.back')), h('button', { id: 'forward', onclick: () => move(1) }, t('journey.forward') + ' →'),
      h('button', { 'aria-pressed': String(!!view.playing), onclick: play }, view.playing ? t('journey.pause') : t('journey.play')),
      h('label', null, t('journey.speed'), h('input', { type: 'range', min: .5, max: 4, step: .5, value: String(view.speed), oninput: e => { view.speed = Number(e.target.value); } })),
      h('span', { class: 'soft' }, t('journey.keys'))),
    secret ? h('div', { class: 'row', role: 'group', 'aria-label': t('quiz.ask') }, choices(p).map(c => h('button', { class: 'guess', onclick: () => guess(p, c) }, named(c)))) : view.quiz && view.guesses.has(p.id) ? answer(p) : null,
    h('div', { class: 'parts' },
      h('section', { 'aria-label': t('journey.in') }, h('h3', null, t('journey.in')), h('p', { class: 'soft' }, p.interface, ', ', t('journey.bytes', p.length)), headers(before, secret)),
      h('section', { 'aria-label': t('journey.steps') }, h('h3', null, t('journey.steps')), steps(p, secret)),
      h('section', { 'aria-label': t('journey.out') }, h('h3', null, t('journey.out')), secret ? h('p', null, '?') : after.length ? headers(after, false) : h('p', { class: 'soft' }, t('journey.nothing')),
        !secret && notes.length ? h('ul', { class: 'soft' }, notes.map(c => h('li', null, c.field, ': ', c.note))) : null)),
    !secret && p.next ? h('p', null, h('b', null, t('journey.next')), ' ', p.next, '.') : null,
    !secret && p.missed ? h('p', { class: 'warning' }, t('journey.missed', p.missed)) : null,
    !secret && view.meanings[p.verdict] ? meaning(view.meanings[p.verdict]) : null);
}

const answer = p => {
  const right = view.guesses.get(p.id) === outcome(p);
  return h('p', { id: 'answer', class: right ? 'good' : 'bad' }, right ? '✓ ' + t('quiz.right') : '✗ ' + t('quiz.wrong', named(outcome(p))));
};

const meaning = m => h('div', { class: 'card' }, h('h3', null, m.code), h('p', null, m.means), m.cause ? h('p', null, h('b', null, t('doctor.why')), ' ', m.cause) : null, m.mistake ? h('p', null, h('b', null, t('journey.mistake')), ' ', m.mistake) : null, m.fix ? h('p', null, h('b', null, t('doctor.fix')), ' ', m.fix) : null);

// headers lists fields; the sign ≠ marks what the director changed, + what it added.
const headers = (all, plain) => h('dl', { class: 'head' }, all.map(l => [h('dt', { class: 'layer' }, l.name), l.fields.map(([name, value, state]) => {
  const marked = !plain && state;
  return [h('dt', null, name), h('dd', { class: marked ? 'changed' : null }, String(value), marked ? h('span', { title: t('field.' + state) }, state === 'added' ? ' +' : ' ≠', h('span', { class: 'unseen' }, ' ' + t('field.' + state))) : null)];
})]));

function steps(p, secret) {
  const last = secret ? question(p) : p.steps.length - 1;
  return h('ol', { class: 'steps', id: 'steps' }, p.steps.map((s, i) => i > last ? null : h('li', { class: i > view.step ? 'later' : i === view.step ? 'now' : null, 'aria-current': i === view.step ? 'step' : null },
    h('span', { class: 'stage' }, stage(s.stage)), ' ', s.pick ? s.pick.scheduler + ': ' + s.pick.rule : s.what, h('span', { class: 'soft' }, ' +' + micro(s.at_ns)),
    s.notes?.length ? h('ul', { class: 'soft' }, s.notes.map(n => h('li', null, n))) : null,
    s.pick ? pick(s.pick) : null)));
}

const pick = r => table(t('journey.pick'), ['', t('server'), t('journey.figure'), ''], (r.candidates || []).map(c => [c.server === r.chosen ? '▶' : '', c.addr, c.figure || '', c.server === r.chosen ? t('journey.chosen') : c.skip ? t('journey.skip', c.skip) : c.tie ? t('journey.tie') : '']), { class: 'picks' });

export const journey = {
  live: false,
  enter: app => { view.explains = app.about.paths.includes('/v1/verdicts'); },
  at: argument => { if (argument && argument !== view.wanted) { view.wanted = argument; const c = /^\[?([^\]]+?)\]?:(\d+)$/.exec(argument); view.filter = c ? `host ${c[1]} and port ${c[2]}` : argument; } },
  render: () => [
    h('p', { class: 'soft' }, t('journey.text')), controls(),
    view.explains ? dryForm() : null,
    view.problem ? h('p', { class: 'warning error' }, view.problem) : null,
    h('div', { class: 'journey', onkeydown: keys },
      h('section', { 'aria-label': t('journey.list') }, h('ol', { class: 'events', tabindex: '0', 'aria-label': t('journey.list') }, view.packets.map(event)), view.packets.length ? null : h('p', { class: 'soft' }, view.recording ? t('journey.waiting') : t('journey.none'))),
      view.packets[view.at] ? packet(view.packets[view.at]) : null)],
};
