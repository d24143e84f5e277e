// The shop, live: what is left, and whether the cart that was just made is paid.
import { at, follow, part, showState } from "./stream.js";

const FEW = 10, FULL = 100;
const count = new Intl.NumberFormat('en-US');
const list = document.querySelector('.cards');
const words = list.dataset;

function cardOf(gifticon) {
  return list.querySelector(`[data-gifticon="${Number(gifticon)}"]`);
}

function step(button) {
  const input = button.closest('.stepper').querySelector('input');
  const max = Number(input.max) || 1;
  const now = Number.parseInt(input.value, 10) || 1;
  input.value = Math.min(max, Math.max(1, now + Number(button.dataset.step)));
}

function prepare(root) {
  for (const button of root.querySelectorAll('[data-step]')) button.hidden = false;
}
prepare(document);
list.addEventListener('click', (event) => {
  const button = event.target.closest('[data-step]');
  if (button) step(button);
});

// What is left.
function show(card, left) {
  const text = card.querySelector('[data-left]');
  text.dataset.left = left;
  text.textContent = (left <= FEW ? words.few : words.left).replace('{n}', count.format(left));
  card.querySelector('[data-stock]').classList.toggle('is-low', left <= FEW);
  card.querySelector('.part').setAttribute('width', Math.min(left, FULL) * 100 / FULL);
  const input = card.querySelector('input[name="quantity"]');
  if (input) input.max = left;
}

// A card that sells out, or is there again, is another card. Not all browsers ask for it at once.
const asked = new Set();
function renew(card) {
  const row = card.dataset.row;
  if (asked.has(row)) return;
  asked.add(row);
  setTimeout(async () => {
    asked.delete(row);
    const fresh = await part('/shop/gifticons/' + row);
    if (!fresh) return;
    const notice = card.querySelector('.notice');
    if (notice) fresh.querySelector('form').before(notice);
    const hadFocus = card.contains(document.activeElement);
    prepare(fresh);
    card.replaceWith(fresh);
    if (hadFocus) {
      fresh.tabIndex = -1;
      fresh.focus();
    }
  }, Math.random() * 500);
}

function changed(gifticon, left) {
  const card = cardOf(gifticon);
  if (!card || left === undefined) return;
  const before = Number(card.querySelector('[data-left]').dataset.left);
  if ((before > 0) !== (left > 0)) renew(card);
  else if (before !== left) show(card, left);
}

// The cart that was just made.
const bought = list.querySelector('[data-bought]');
function paid() {
  const chip = bought.querySelector('[data-paid]');
  if (chip.classList.contains('good')) return;
  chip.classList.replace('wait', 'good');
  chip.textContent = chip.dataset.paid;
}
async function ask(tries) { // of many events only some are told
  if (bought.querySelector('.chip.good') || tries === 0) return;
  try {
    const answer = await fetch(at('/carts/' + bought.dataset.bought), { headers: { accept: 'application/json' } });
    if (answer.ok && (await answer.json()).status === 'PaymentApproved') return paid();
    if (answer.status === 404) return;
  } catch { /* asked again */ }
  setTimeout(() => ask(tries - 1), 2000);
}
if (bought) setTimeout(() => ask(20), 1000);

follow(at('/live/stream'), ['event', 'reset'], (name, data) => {
  if (name === 'reset') return;
  if (data.type === 'QuantityModified' || data.type === 'GifticonRegistered') {
    changed(data.gifticonId, data.availableQuantity ?? data.quantity);
  } else if (data.type === 'PaymentApproved' && bought && String(data.cartId) === bought.dataset.bought) {
    paid();
  }
}, showState);
