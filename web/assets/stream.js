// Follows a stream of server-sent events with one connection for all tabs of this browser: over HTTP/1.1 a browser opens six at
// most. The tab that holds the lock has the connection, and tells the others by a channel.

const KEPT = 60; // events that a tab gets that joins later
const AGAIN_MS = 2000; // after an answer that a browser does not try again by itself, such as 502; twice that after the next one
const AGAIN_MAX_MS = 15000;
const FRESH_MS = 500; // what a stream begins with, or a tab that joins gets, reaches back further than this
const GRACE_MS = 1500; // a stream that ended in order is back by then, and nobody has to hear that it was away

export const OVER = 412; // of the gateway: the account that this page was shown to is not signed in any more

let end = () => {}; // ends the stream of this page

/** Returns the address of `path` for the account that this page was shown to. */
export function own(path) {
  const url = new URL(path, location);
  url.searchParams.set('for-account', document.body.dataset.account);
  return url;
}

/**
 * @param {string} path where the stream is
 * @param {string[]} names events to listen to
 * @param {(name: string, data: object) => void} heard called for each event, and with `missed` where some may have come that are
 *   never told to this page
 * @param {(state: boolean | "over" | "none") => void} changed called when the connection comes or goes, when it is over because
 *   another account is signed in, or nobody, and when there is none for this account
 */
export function follow(path, names, heard, changed) {
  const { account, still } = document.body.dataset;
  if (still !== undefined) return; // streams are for those who are signed in
  const key = 'gifticon ' + path + account; // a tab of another account tells nothing
  const me = crypto.getRandomValues(new Uint32Array(2)).join('-');
  const kept = [];
  let channel, source, timer, away, connected, leave, abort;
  let again = AGAIN_MS;
  let asOf; // when this page got what it shows, as `performance.now()` tells
  let asked = false; // why the stream was refused, since it was open last

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

  // An `EventSource` does not say why it was refused, so this asks first. HEAD keeps no place among the streams.
  async function connectAgain() {
    const refused = source;
    const answer = await fetch(own(path), { method: 'HEAD' }).catch(() => {});
    if (source !== refused) return; // the page was left meanwhile
    const status = answer?.status;
    if (status === 200) connect();
    else if (status === OVER) end('over');
    else if (status === 403 || (status === 401 && !account)) end('none');
    else later(); // also a 401 of a service that does not know a new key of the issuer yet
  }

  // It is not said at once that the connection went: most are back soon.
  function goes() {
    away ??= setTimeout(report, GRACE_MS, false);
  }

  function later() {
    goes();
    timer = setTimeout(connectAgain, again * (1 + Math.random()));
    again = Math.min(again * 2, AGAIN_MAX_MS);
  }

  // Of what happened before a stream begins only the newest is told, so an older page may show what is no longer so. Returns
  // whether this one asks for it again.
  function catchUp() {
    if (performance.now() - asOf <= FRESH_MS) return false;
    asOf = performance.now();
    heard('missed', {});
    return true;
  }

  function connect() {
    if (catchUp()) tell({ name: 'missed', data: {} });
    source = new EventSource(own(path));
    source.onopen = () => {
      clearTimeout(away);
      away = undefined;
      again = AGAIN_MS;
      asked = false;
      report(true);
    };
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) return goes();
      if (asked) return later();
      asked = true;
      connectAgain(); // at once: it may be for good
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

  function start(since) {
    asOf = since;
    if (!navigator.locks || !window.BroadcastChannel) { // plain HTTP on another host: each tab has its own
      connect();
      return;
    }
    channel = new BroadcastChannel(key);
    channel.onmessage = ({ data }) => {
      if (data.to && data.to !== me) return;
      if (typeof data.state === 'string') {
        state(data.state);
        stop();
      } else if (data.ask) {
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
    catchUp();
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

  end = (how) => {
    report(how);
    stop();
  };

  addEventListener('pagehide', stop); // a page that is kept for going back would keep its connection too
  addEventListener('pageshow', (event) => { if (event.persisted) start(-Infinity); });
  start(0);
}

/** Shows in the page whether it is live, or why it will not be again. */
export function showState(now) {
  const state = document.getElementById('state');
  if (!state) return;
  const { liveOn, liveOff, liveOver, reload } = document.body.dataset;
  state.hidden = now === 'none';
  state.classList.toggle('is-on', now === true);
  if (now !== 'over') {
    state.textContent = now ? liveOn : liveOff;
    return;
  }
  const link = document.createElement('a');
  link.href = document.querySelector('.tabs a[aria-current]').href; // a form that was refused has no page of its own
  link.textContent = reload;
  state.replaceChildren(liveOver + ' ', link);
}

/** Returns the path at which the visitor finds ours. */
export const at = (path) => document.body.dataset.base + path;

/** Returns what `css` selects of a page, or of a part of one, that the server renders; nothing if it does not. */
export async function parts(path, css) {
  try {
    const answer = await fetch(own(at(path)), { headers: { accept: 'text/html' } });
    if (answer.status === OVER) end('over');
    if (!answer.ok) return [];
    const parsed = new DOMParser().parseFromString(await answer.text(), 'text/html');
    return [...parsed.querySelectorAll(css)].map((one) => document.adoptNode(one));
  } catch {
    return [];
  }
}

/** Returns the first element of a part of a page that the server renders, or null. */
export const part = async (path) => (await parts(path, 'body > :first-child'))[0] ?? null;
