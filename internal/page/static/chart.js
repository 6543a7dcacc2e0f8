// Curves over time as SVG, with the same in words. A curve has a dash pattern of its own,
// so none is told by its colour alone.

import { h, s } from './dom.js';

const W = 720, H = 220, LEFT = 46, RIGHT = 8, TOP = 8, BOTTOM = 24;

export const key = (label, i, note) => h('li', null,
  s('svg', { viewBox: '0 0 40 10', 'aria-hidden': 'true' }, s('path', { class: 'curve k' + i % 8, d: 'M0 5H40' })), ' ', label, note ? ' ' + note : '');

// curves draws series of {label, points: [[x, y]], ideal}. y is from 0 to 1, or to max.
export function curves(title, series, { max = 1, format = v => Math.round(v * 100) + ' %', unit = 's', note } = {}) {
  const xs = series.flatMap(c => c.points.map(p => p[0]));
  const lo = Math.min(...xs), hi = Math.max(...xs);
  const x = v => LEFT + (hi > lo ? (v - lo) / (hi - lo) : 1) * (W - LEFT - RIGHT);
  const y = v => TOP + (1 - Math.min(v / max, 1)) * (H - TOP - BOTTOM);
  const line = points => points.map((p, i) => (i ? 'L' : 'M') + x(p[0]).toFixed(1) + ' ' + y(p[1]).toFixed(1)).join('');
  const said = title + ': ' + series.map(c => c.label + ' ' + (c.points.length ? format(c.points.at(-1)[1]) : '–')).join(', ');
  const marks = [0, .25, .5, .75, 1].map(f => f * max);
  const times = hi > lo ? [lo, (lo + hi) / 2, hi] : [];
  return h('figure', null,
    h('h3', null, title),
    s('svg', { class: 'chart', viewBox: `0 0 ${W} ${H}`, role: 'img', 'aria-label': said },
      marks.map(v => [s('line', { class: 'grid', x1: LEFT, x2: W - RIGHT, y1: y(v), y2: y(v) }), s('text', { x: LEFT - 6, y: y(v) + 4, 'text-anchor': 'end' }, format(v))]),
      times.map((v, i) => s('text', { x: x(v), y: H - 6, 'text-anchor': ['start', 'middle', 'end'][i] }, (Math.round(v * 10) / 10) + ' ' + unit)),
      series.map((c, i) => c.ideal == null ? null : s('path', { class: 'ideal k' + i % 8, d: `M${LEFT} ${y(c.ideal).toFixed(1)}H${W - RIGHT}` })),
      series.map((c, i) => c.points.length ? s('circle', { class: 'curve k' + i % 8, cx: x(c.points.at(-1)[0]), cy: y(c.points.at(-1)[1]), r: 3 }) : null),
      series.map((c, i) => c.points.length ? s('path', { class: 'curve k' + i % 8, d: line(c.points) }) : null)),
    h('ul', { class: 'key' }, series.map((c, i) => key(c.label, i, c.points.length ? format(c.points.at(-1)[1]) : ''))),
    note ? h('figcaption', null, note) : null);
}

// strip draws groups of {label, values} as dots with their median, one line each.
export function strip(title, groups, format) {
  const all = groups.flatMap(g => g.values), top = Math.max(...all, 0) || 1, step = 26, left = 190;
  const x = v => left + v / top * (W - left - 70);
  const median = v => { const o = [...v].sort((a, b) => a - b), n = o.length; return n ? (o[(n - 1) >> 1] + o[n >> 1]) / 2 : 0; };
  return h('figure', null, h('h3', null, title),
    s('svg', { class: 'chart', viewBox: `0 0 ${W} ${groups.length * step + 8}`, role: 'img', 'aria-label': title + ': ' + groups.map(g => g.label + ' ' + format(median(g.values))).join(', ') },
      groups.map((g, i) => { const y = i * step + 16, m = x(median(g.values)); return [
        s('text', { x: left - 8, y: y + 4, 'text-anchor': 'end' }, g.label.length > 30 ? g.label.slice(0, 29) + '…' : g.label),
        s('line', { class: 'grid', x1: left, x2: W - 70, y1: y, y2: y }),
        g.values.map(v => s('circle', { class: 'dot', cx: x(v), cy: y, r: 3 })),
        s('line', { class: 'median', x1: m, x2: m, y1: y - 8, y2: y + 8 }),
        s('text', { x: W - 64, y: y + 4 }, format(median(g.values)))]; })));
}
