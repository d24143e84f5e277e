// Follows a stream of server-sent events with one connection for all tabs of this browser: over HTTP/1.1 a browser opens six at
// most. The tab that holds the lock has the connection, and tells the others by a channel.

const KEPT = 60; // events that a tab gets that joins later
const AGAIN_MS = 2000; // after an answer that a browser does not try again by itself, such as 502; twice that after the next one
const AGAIN_MAX_MS = 15000;
const GRACE_MS = 1500; // a stream that ended in order is back by then, and nobody has to hear that it was away

/**
 * @param {string} path where the stream is
 * @param {string[]} names events to listen to
 * @param {(name: string, data: object) => void} heard called for each event
 * @param {(connected: boolean) => void} changed called when the connection comes or goes
 */
export function follow(path, names, heard, changed) {
  const { account, still } = document.body.dataset;
  if (still !== undefined) return; // streams are for those who are signed in
  const key = 'gifticon ' + path + account; // a tab of another account tells nothing
  const me = crypto.getRandomValues(new Uint32Array(2)).join('-');
  const kept = [];
  let channel, source, timer, away, connected, leave, abort;
  let again = AGAIN_MS;

  const tell = (message) => channel?.postMessage(message);
  const state = (now) => {
    if (connected === now) return;
    connected = now;
    changed(now);
  };

  const report = (now) => {
    state(now);
    tell({ state: now });
  };

  function connect() {
    source = new EventSource(path);
    source.onopen = () => {
      clearTimeout(away);
      away = undefined;
      again = AGAIN_MS;
      report(true);
    };
    source.onerror = () => {
      away ??= setTimeout(report, GRACE_MS, false);
      if (source.readyState === EventSource.CLOSED) {
        timer = setTimeout(connect, again * (1 + Math.random()));
        again = Math.min(again * 2, AGAIN_MAX_MS);
      }
    };
    for (const name of names) {
      source.addEventListener(name, (event) => {
        const message = { name, data: JSON.parse(event.data || '{}') };
        kept.push(message);
        if (kept.length > KEPT) kept.shift();
        heard(message.name, message.data);
        tell(message);
      });
    }
  }

  function start() {
    if (!navigator.locks || !window.BroadcastChannel) { // plain HTTP on another host: each tab has its own
      connect();
      return;
    }
    channel = new BroadcastChannel(key);
    channel.onmessage = ({ data }) => {
      if (data.to && data.to !== me) return;
      if (data.ask) {
        if (!source) return;
        tell({ to: data.ask, state: connected === true });
        for (const message of kept) tell({ to: data.ask, ...message });
      } else if (source) {
        // two tabs never lead at once; what the one before still says is old
      } else if (data.name) {
        heard(data.name, data.data);
      } else {
        state(data.state);
      }
    };
    tell({ ask: me });
    abort = new AbortController();
    navigator.locks.request(key, { signal: abort.signal }, () => {
      connect();
      return new Promise((done) => { leave = done; });
    }).catch(() => {}); // the page is left before it led
  }

  function stop() {
    clearTimeout(timer);
    clearTimeout(away);
    away = undefined;
    source?.close();
    source = undefined;
    abort?.abort();
    leave?.();
    channel?.close();
    channel = undefined;
  }

  addEventListener('pagehide', stop); // a page that is kept for going back would keep its connection too
  addEventListener('pageshow', (event) => { if (event.persisted) start(); });
  start();
}

/** Shows in the page whether it is live. */
export function showState(connected) {
  const state = document.getElementById('state');
  if (!state) return;
  state.hidden = false;
  state.classList.toggle('is-on', connected);
  state.textContent = connected ? document.body.dataset.liveOn : document.body.dataset.liveOff;
}

/** Returns the path at which the visitor finds ours. */
export const at = (path) => document.body.dataset.base + path;

/** Returns what `css` selects of a page, or of a part of one, that the server renders; nothing if it does not. */
export async function parts(path, css) {
  try {
    const answer = await fetch(at(path), { headers: { accept: 'text/html' } });
    if (!answer.ok) return [];
    const parsed = new DOMParser().parseFromString(await answer.text(), 'text/html');
    return [...parsed.querySelectorAll(css)].map((one) => document.adoptNode(one));
  } catch {
    return [];
  }
}

/** Returns the first element of a part of a page that the server renders, or null. */
export const part = async (path) => (await parts(path, 'body > :first-child'))[0] ?? null;
