// Headers of a frame as fields: what stands in a packet before and after.

const hex = (b, from, n) => [...b.subarray(from, from + n)].map(v => v.toString(16).padStart(2, '0'));
const mac = (b, at) => hex(b, at, 6).join(':');
const u16 = (b, at) => b[at] << 8 | b[at + 1];
const u32 = (b, at) => u16(b, at) * 65536 + u16(b, at + 2);
const ip4 = (b, at) => [...b.subarray(at, at + 4)].join('.');

// ip6 writes an address as RFC 5952 has it.
function ip6(b, at) {
  const w = Array.from({ length: 8 }, (_, i) => u16(b, at + 2 * i));
  let best = [0, 0];
  for (let i = 0; i < 8; i++) {
    let n = 0;
    while (i + n < 8 && w[i + n] === 0) n++;
    if (n > best[1]) best = [i, n];
  }
  const text = part => part.map(v => v.toString(16)).join(':');
  return best[1] > 1 ? text(w.slice(0, best[0])) + '::' + text(w.slice(best[0] + best[1])) : text(w);
}

const names = { 1: 'icmp', 4: 'ipip', 6: 'tcp', 17: 'udp', 41: 'ipv6', 47: 'gre', 50: 'esp', 51: 'ah', 58: 'icmpv6', 132: 'sctp' };
const protocol = n => names[n] || String(n);

// layers returns the headers of a frame, the outermost first: [{name, fields: [[name, value]]}].
export function layers(base64) {
  const b = Uint8Array.from(atob(base64), c => c.charCodeAt(0)), all = [];
  if (b.length < 14) return all;
  let at = 14, type = u16(b, 12);
  const eth = { name: 'eth', fields: [['src', mac(b, 6)], ['dst', mac(b, 0)]] };
  all.push(eth);
  while ((type === 0x8100 || type === 0x88a8) && b.length >= at + 4) {
    eth.fields.push(['vlan', u16(b, at) & 4095]);
    type = u16(b, at + 2);
    at += 4;
  }
  eth.fields.push(['type', '0x' + type.toString(16).padStart(4, '0')]);
  if (type === 0x806 && b.length >= at + 28) all.push({ name: 'arp', fields: [['op', u16(b, at + 6)], ['sender', ip4(b, at + 14)], ['sender mac', mac(b, at + 8)], ['target', ip4(b, at + 24)]] });
  if (type === 0x800 || type === 0x86dd) network(b, at, all);
  return all;
}

function network(b, at, all) {
  const version = b[at] >> 4;
  if (version === 4 && b.length >= at + 20) {
    const length = (b[at] & 15) * 4, offset = u16(b, at + 6) & 0x1fff;
    all.push({ name: 'ip', fields: [['src', ip4(b, at + 12)], ['dst', ip4(b, at + 16)], ['ttl', b[at + 8]], ['proto', protocol(b[at + 9])], ['length', u16(b, at + 2)], ['id', u16(b, at + 4)], ['df', u16(b, at + 6) >> 14 & 1], ['fragment', offset * 8 + (u16(b, at + 6) & 0x2000 ? '+' : '')], ['checksum', hex(b, at + 10, 2).join('')]] });
    if (length >= 20 && offset === 0) next(b, at + length, b[at + 9], all);
  } else if (version === 6 && b.length >= at + 40) {
    all.push({ name: 'ip', fields: [['src', ip6(b, at + 8)], ['dst', ip6(b, at + 24)], ['hop limit', b[at + 7]], ['proto', protocol(b[at + 6])], ['length', u16(b, at + 4)]] });
    next(b, at + 40, b[at + 6], all);
  }
}

const flags = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR'];

function next(b, at, proto, all) {
  const left = b.length - at;
  if ((proto === 4 || proto === 41) && left >= 20) network(b, at, all);
  else if (proto === 6 && left >= 20) {
    const options = (b[at + 12] >> 4) * 4 - 20;
    all.push({ name: 'tcp', fields: [['sport', u16(b, at)], ['dport', u16(b, at + 2)], ['flags', flags.filter((_, i) => b[at + 13] >> i & 1).join(',')], ['seq', u32(b, at + 4)], ['ack', u32(b, at + 8)], ['window', u16(b, at + 14)], ['checksum', hex(b, at + 16, 2).join('')], ...(options > 0 && left >= 20 + options ? [['options', hex(b, at + 20, options).join(' ')]] : [])] });
  } else if (proto === 17 && left >= 8) all.push({ name: 'udp', fields: [['sport', u16(b, at)], ['dport', u16(b, at + 2)], ['length', u16(b, at + 4)], ['checksum', hex(b, at + 6, 2).join('')]] });
  else if (proto === 132 && left >= 12) all.push({ name: 'sctp', fields: [['sport', u16(b, at)], ['dport', u16(b, at + 2)], ['tag', u32(b, at + 4)]] });
  else if ((proto === 1 || proto === 58) && left >= 4) all.push({ name: protocol(proto), fields: [['type', b[at]], ['code', b[at + 1]]] });
}

// compare returns the layers of both with each field's state: '', 'changed', or 'added' for
// what only one of them has. They are matched from the inside: new headers come outside.
export function compare(before, after) {
  const mark = (own, other) => own.map((layer, i) => {
    const peer = i === 0 ? other[0] : other[other.length - (own.length - i)];
    const same = peer && peer.name === layer.name && (i === 0 || other.length - (own.length - i) > 0) ? new Map(peer.fields.map(([k, v]) => [k, v])) : null;
    return { name: layer.name, added: !same, fields: layer.fields.map(([k, v]) => [k, v, !same ? 'added' : same.get(k) !== v ? 'changed' : '']) };
  });
  return [mark(before, after), mark(after, before)];
}

// fromChanges makes layers of a record without frames: only what changed is known.
export function fromChanges(changes) {
  const of = which => {
    const all = new Map();
    for (const c of changes) {
      const [layer, field] = c.field.includes('.') ? c.field.split('.') : ['port', c.field];
      const value = which === 'before' ? c.before : c.after ?? c.before;
      if (value == null) continue;
      if (!all.has(layer)) all.set(layer, { name: layer, fields: [] });
      all.get(layer).fields.push([field, value, c.before == null ? 'added' : c.before !== c.after ? 'changed' : '', c.note]);
    }
    return [...all.values()];
  };
  return [of('before'), of('after')];
}
