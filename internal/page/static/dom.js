// Elements without markup: text stays text, whatever is in it.

const NS = 'http://www.w3.org/2000/svg';

function make(el, attrs, kids) {
  for (const [name, value] of Object.entries(attrs || {})) {
    if (value == null || value === false) continue;
    if (name.startsWith('on')) el[name] = value;
    else if (name === 'value') { el.value = value; el.wanted = value; }
    else if (name === 'checked') el.checked = true;
    else if (name === 'vars') for (const [k, v] of Object.entries(value)) el.style.setProperty(k, v);
    else el.setAttribute(name, value === true ? '' : value);
  }
  add(el, kids);
  return el;
}

function add(el, kids) {
  for (const kid of kids) {
    if (kid == null || kid === false) continue;
    if (Array.isArray(kid)) add(el, kid);
    else el.append(kid instanceof Node ? kid : String(kid));
  }
}

// h makes an HTML element, s one of SVG. Attributes that begin with "on" are handlers.
export const h = (tag, attrs, ...kids) => {
  const el = document.createElement(tag);
  if (attrs && tag === 'select') { // its value needs the options first
    const { value, ...rest } = attrs;
    make(el, rest, kids);
    if (value != null) { el.value = value; el.wanted = value; }
    return el;
  }
  return make(el, attrs, kids);
};
export const s = (tag, attrs, ...kids) => make(document.createElementNS(NS, tag), attrs, kids);

const handlers = ['onclick', 'oninput', 'onchange', 'onsubmit', 'onkeydown'];

// renew makes old like fresh and keeps what the reader has: focus, an open <details>, what
// is being typed, how far something is scrolled.
export function renew(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  const kept = old.nodeName === 'DETAILS' ? ['open'] : [];
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !kept.includes(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) === value || kept.includes(name)) continue;
    if (name === 'style') old.style.cssText = value; // the policy allows no attribute
    else old.setAttribute(name, value);
  }
  for (const name of handlers) old[name] = fresh[name];
  if (old.nodeName !== 'SELECT') renewKids(old, fresh);
  else if (old.textContent !== fresh.textContent) { old.replaceChildren(...fresh.childNodes); old.value = fresh.wanted ?? old.value; }
  if ('checked' in old && old.checked !== fresh.checked) old.checked = fresh.checked;
  if (fresh.wanted != null && old !== document.activeElement && old.value !== fresh.wanted) old.value = fresh.wanted;
}

function renewKids(old, fresh) {
  const want = [...fresh.childNodes];
  want.forEach((kid, i) => {
    const have = old.childNodes[i];
    if (have) renew(have, kid);
    else old.append(kid);
  });
  while (old.childNodes.length > want.length) old.lastChild.remove();
}

// table makes a table that can be read aloud. A cell is text, an element, or {text, class}.
export function table(caption, head, rows, attrs) {
  const cell = (c, i) => {
    const word = typeof c === 'number' ? null : 'word';
    return c != null && c.text !== undefined && !(c instanceof Node) ? h('td', { class: c.class || word }, c.text) : h('td', { class: head[i] && head[i].num ? null : word }, c ?? '');
  };
  return h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption }, h('table', attrs,
    h('caption', null, caption),
    h('thead', null, h('tr', null, head.map(c => h('th', { scope: 'col', class: c.num ? null : 'word' }, c.text ?? c)))),
    h('tbody', null, rows.map(r => h('tr', r.attrs, (r.cells || r).map(cell))))));
}

export const num = text => ({ text, num: true });
