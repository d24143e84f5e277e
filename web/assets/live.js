// The picture, live: each event walks along its edge, and is told in words beside it.
import { at, follow, parts, showState } from "./stream.js";

const STEP_MS = 520; // for one edge
const SLOW = 4;
const DOTS_MAX = 80; // more than anybody can follow; further events are told in words only
const TOLD_MAX = 20;
const FIGURES_MS = 2000;
const SPARK = 40;
const FLASH_MS = 600;

const ORDER = ['you-gateway', 'gateway-cart', 'cart-gifticon'];
// What each event means: the calls that led to it, who sent it, and who acts on it.
const WALKS = {
  CartAdded: { calls: ORDER, from: 'cart', to: ['payment', 'mypage'] },
  CartRemoved: { calls: [], from: 'cart', to: ['gifticon', 'payment', 'mypage'] },
  PaymentApproved: { calls: [], from: 'payment', to: ['cart', 'mypage'] },
  PaymentDeclined: { calls: [], from: 'payment', to: ['cart', 'mypage'] },
  PaymentCancelled: { calls: [], from: 'payment', to: ['mypage'] },
  GifticonRegistered: { calls: ['you-gateway', 'gateway-gifticon'], from: 'gifticon', to: [] },
  GifticonDeleted: { calls: ['you-gateway', 'gateway-gifticon'], from: 'gifticon', to: [] },
  QuantityModified: { calls: [], from: 'gifticon', to: [] },
};
const SOLD_OUT = 'SoldOut'; // no event: nothing happened. The figures tell how often.

const count = new Intl.NumberFormat('en-US');
const picture = document.getElementById('picture');
const dots = document.getElementById('dots');
const happened = document.getElementById('happened');
const numbers = document.getElementById('numbers');
const words = numbers.dataset;
const slow = document.getElementById('slow');
const still = matchMedia('(prefers-reduced-motion: reduce)');
slow.closest('label').hidden = false;

// The walk of one dot: along each path, and in a straight line between two.
function walk(ids, kind, type) {
  if (dots.childElementCount >= DOTS_MAX) return Promise.resolve();
  const dot = document.createElementNS('http://www.w3.org/2000/svg', 'circle');
  dot.setAttribute('r', kind === 'call' ? 6 : 8);
  dot.setAttribute('class', `${kind} ${type}`);
  dots.append(dot);
  const legs = ids.map((id) => document.getElementById(id));
  const pace = STEP_MS * (slow.checked ? SLOW : 1);
  const begin = performance.now();
  return new Promise((done) => {
    const frame = (now) => {
      const gone = Math.max(now - begin, 0) / pace; // a frame may have begun before
      const index = Math.floor(gone);
      if (index >= legs.length) {
        dot.remove();
        done();
        return;
      }
      const leg = legs[index], length = leg.getTotalLength(), part = gone - index;
      let point = leg.getPointAtLength(length * part);
      const before = index > 0 && legs[index - 1];
      if (before && part < .35) { // from the end of the path before to this one
        const from = before.getPointAtLength(before.getTotalLength());
        const to = leg.getPointAtLength(length * .35);
        const share = part / .35;
        point = { x: from.x + (to.x - from.x) * share, y: from.y + (to.y - from.y) * share };
      }
      dot.setAttribute('cx', point.x);
      dot.setAttribute('cy', point.y);
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
}

function flash(name, how = 'is-hot') {
  const node = document.getElementById('node-' + name);
  node.classList.add(how);
  clearTimeout(node.timer);
  node.timer = setTimeout(() => node.classList.remove('is-hot', 'is-refusing'), FLASH_MS);
}

// Purchases that gifticon has refused: one call stands for all of them.
let refused;
async function soldOut(total) {
  const more = total - (refused ?? total);
  refused = total; // fewer than before if another replica tells it, or one that began anew
  if (!(more > 0)) return;
  told({ type: SOLD_OUT, at: new Date().toISOString(), quantity: more });
  if (!still.matches && !document.hidden) await walk(ORDER, 'call', SOLD_OUT);
  flash('gifticon', 'is-refusing');
}

async function play(type) {
  const { calls, from, to } = WALKS[type];
  if (still.matches || document.hidden) {
    for (const name of [from, 'topic', ...to]) flash(name);
    return;
  }
  if (calls.length) await walk(calls, 'call', type);
  flash(from);
  const publish = `${from}-topic`;
  if (to.length === 0) {
    await walk([publish], 'event', type);
    flash('topic');
    return;
  }
  for (const name of to) {
    walk([publish, `topic-${name}`], 'event', type).then(() => flash(name));
  }
}

// What is left of each gifticon, and its name.
const stock = new Map(), names = new Map();
function begin({ dataset }) {
  stock.clear();
  for (const [gifticon, units] of Object.entries(JSON.parse(dataset.stock))) stock.set(gifticon, units);
  for (const [gifticon, name] of Object.entries(JSON.parse(dataset.names))) names.set(gifticon, name);
}
begin(numbers);
async function beginAnew() {
  const [fresh] = await parts('/live', '#numbers');
  if (fresh) begin(fresh);
}

// In words.
const time = new Intl.DateTimeFormat('en-GB', {
  timeZone: 'Asia/Seoul', hour: '2-digit', minute: '2-digit', second: '2-digit',
});
function told(event) {
  const pattern = happened.dataset[event.type[0].toLowerCase() + event.type.slice(1)];
  const values = {
    cart: event.cartId,
    gifticon: names.get(String(event.gifticonId)) ?? words.voucher.replace('{n}', event.gifticonId),
    quantity: count.format(event.availableQuantity ?? event.quantity ?? 0),
  };
  const item = document.createElement('li');
  item.className = event.type;
  const when = document.createElement('time');
  when.dateTime = event.at;
  when.textContent = time.format(new Date(event.at));
  const what = document.createElement('span');
  what.textContent = pattern.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '');
  item.append(when, what);
  happened.prepend(item);
  while (happened.childElementCount > TOLD_MAX) happened.lastElementChild.remove();
  document.getElementById('nothing').hidden = true;
}

// Numbers.
const history = new Map();
function set(key, text, value) {
  const box = numbers.querySelector(`[data-number="${key}"]`);
  box.querySelector('dd').textContent = text;
  if (value === undefined) return;
  const past = history.get(key) ?? Array(SPARK).fill(value);
  past.push(value);
  if (past.length > SPARK) past.shift();
  history.set(key, past);
  const max = Math.max(...past, 1);
  const points = past.map((one, index) => `${(index * 100) / (SPARK - 1)},${22 - (one / max) * 20}`);
  box.querySelector('polyline').setAttribute('points', points.join(' '));
}

// The line stays as it was while the number is unknown.
const setKnown = (key, text, value) => Number.isNaN(value) ? set(key, words.unknown) : set(key, text, value);

function left() {
  let sum = 0;
  for (const units of stock.values()) sum += units;
  return sum;
}

async function figures() {
  try {
    const answer = await fetch(at('/live/figures'), { headers: { accept: 'application/json' } });
    if (!answer.ok) return;
    const { cartsPerSecond, services } = await answer.json();
    let lag = 0, age = 0, breaker; // NaN where a service does not say: a part is not the whole
    for (const one of services) {
      const node = document.getElementById('node-' + one.service);
      const role = node?.querySelector('[data-role]');
      node?.classList.toggle('is-down', !one.up);
      node?.classList.toggle('is-waiting', one.up && one.outboxEvents > 0);
      if (role) {
        role.textContent = !one.up ? picture.dataset.down
          : one.outboxEvents > 0 ? picture.dataset.waits.replace('{n}', count.format(one.outboxEvents))
          : one.lagEvents >= 1 ? picture.dataset.unread.replace('{n}', count.format(one.lagEvents))
          : role.dataset.role;
      }
      lag += one.lagEvents ?? NaN;
      age = Math.max(age, one.outboxAgeSeconds ?? NaN);
      if (!one.up) continue;
      breaker ??= one.breaker;
      if (one.soldOut !== undefined) soldOut(one.soldOut);
    }
    set('carts', cartsPerSecond === null ? words.unknown : cartsPerSecond.toFixed(1), cartsPerSecond ?? 0);
    setKnown('lag', count.format(lag), lag);
    setKnown('outbox', words.seconds.replace('{n}', age.toFixed(1)), age);
    set('breaker', words[breaker] ?? words.unknown);
    document.getElementById('breaker').classList.toggle('is-open', breaker !== undefined && breaker !== 'closed');
  } catch { /* asked again */ }
  set('stock', count.format(left()), left());
}
const asks = setInterval(() => { if (!document.hidden) figures(); }, FIGURES_MS);
figures();

// What happened before this page was opened is told, and does not walk.
const opened = Date.now();
setTimeout(() => happened.setAttribute('aria-live', 'polite'), 2000);

follow(at('/live/stream'), ['event', 'reset'], (name, event) => {
  if (name === 'reset' || name === 'missed') return beginAnew();
  if (!WALKS[event.type]) return;
  if (event.name) names.set(String(event.gifticonId), event.name);
  told(event);
  if (event.gifticonId !== undefined && event.availableQuantity !== undefined) {
    stock.set(String(event.gifticonId), event.availableQuantity);
  } else if (event.type === 'GifticonDeleted') {
    stock.delete(String(event.gifticonId));
  }
  if (Date.parse(event.at) > opened - 3000) play(event.type);
}, (state) => {
  if (typeof state === 'string') clearInterval(asks); // nothing more is told to this page
  showState(state);
});
