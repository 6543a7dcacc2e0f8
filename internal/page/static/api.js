// Requests to the server that the page came from, with the token that only this tab keeps.

const KEY = 'uvs-token';
let token = sessionStorage.getItem(KEY) || '';

// takeToken takes the token out of the address, so that it is in no history.
export function takeToken() {
  const m = /^#token=([\w-]+)/.exec(location.hash);
  if (!m) return;
  setToken(m[1]);
  history.replaceState(null, '', location.pathname + '#/map');
}

export function setToken(text) {
  token = text;
  sessionStorage.setItem(KEY, text);
}

export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

async function ask(path, signal, extra) {
  const headers = token ? { Authorization: 'Bearer ' + token, ...extra } : { ...extra };
  const answer = await fetch(path, { signal, headers, cache: 'no-store', redirect: 'error' });
  if (answer.ok) return answer;
  let problem = {};
  try { problem = (await answer.json()).error || {}; } catch { /* no body that says more */ }
  throw new Refused(answer.status, problem.code || '', problem.message || answer.statusText);
}

// get returns the JSON at a path.
export const get = async (path, signal) => (await ask(path, signal)).json();

async function* lines(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split('\n');
    rest = parts.pop();
    yield* parts;
  }
}

// records yields one JSON value for each line of an answer, as it comes.
export async function* records(path, signal) {
  for await (const line of lines(await ask(path, signal))) if (line) yield JSON.parse(line);
}

// events yields server-sent events: {name, id, data}. EventSource cannot send a token.
export async function* events(path, signal, last) {
  let e = { name: 'message', id: last, data: [] };
  for await (const line of lines(await ask(path, signal, last ? { 'Last-Event-ID': last } : {}))) {
    if (line === '') {
      if (e.data.length) yield { name: e.name, id: e.id, data: JSON.parse(e.data.join('\n')) };
      e = { name: 'message', id: e.id, data: [] };
      continue;
    }
    const at = line.indexOf(':');
    if (at === 0) continue; // a comment
    const field = at < 0 ? line : line.slice(0, at), value = at < 0 ? '' : line.slice(at + 1).replace(/^ /, '');
    if (field === 'event') e.name = value;
    else if (field === 'id') e.id = value;
    else if (field === 'data') e.data.push(value);
  }
}

// pause waits, or ends with the signal.
export const pause = (ms, signal) => new Promise((done, stop) => {
  const timer = setTimeout(done, ms);
  signal?.addEventListener('abort', () => { clearTimeout(timer); stop(signal.reason); }, { once: true });
});
