// Numbers and times in few characters.

const steps = [[1e9, 'G'], [1e6, 'M'], [1e3, 'k']];

// short writes 12345 as "12.3 k".
export function short(v) {
  if (v == null || !isFinite(v)) return '–';
  for (const [n, letter] of steps) if (Math.abs(v) >= n) return (v / n).toPrecision(3) + ' ' + letter;
  return Number.isInteger(v) ? String(v) : v.toPrecision(3);
}

export const percent = v => (v == null || !isFinite(v) ? '–' : (v * 100).toFixed(1) + ' %');
export const bits = bytes => short(bytes * 8) + 'bit/s';
export const clock = at => new Date(at).toLocaleTimeString();
export const seconds = ms => (ms / 1000).toFixed(ms < 10_000 ? 1 : 0) + ' s';
export const micro = ns => (ns / 1000).toFixed(1) + ' µs';
