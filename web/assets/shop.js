// The shop, live: what is left, and whether the cart that was just made is paid.
import { OVER, at, follow, own, part, parts, showState } from "./stream.js";

const FEW = 10, FULL = 100;
const ASKED_MS = 500; // in which the browsers that watch ask for a card
const SEEN_MS = 1500; // until a customer has seen a new price
const count = new Intl.NumberFormat('en-US');
const list = document.querySelector('.cards');
const announce = document.getElementById('announce');
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

const leftOf = (card) => Number(card.querySelector('[data-left]').dataset.left);
const nameOf = (card) => card.querySelector('h2').textContent;
const priceOf = (card) => card.querySelector('.price').dataset.price;

// What a card says of its gifticon. Its form stays, with what was typed and the focus.
function rename(card, fresh) {
  const before = priceOf(card), now = priceOf(fresh);
  if (before !== now) {
    const name = nameOf(fresh), text = fresh.querySelector('.price').textContent;
    announce.textContent = words.priceNow.replace('{name}', () => name).replace('{price}', () => text);
    const label = document.createElement('span'), old = document.createElement('s');
    label.className = 'unseen';
    label.textContent = words.priceBefore;
    old.textContent = card.querySelector('.price').firstChild.textContent;
    fresh.querySelector('.price').append(label, old);
    // Who clicks in this moment has seen the price before, and is asked.
    setTimeout(() => {
      const seen = card.querySelector('input[name="price"]'); // who may not buy has no form
      if (seen && priceOf(card) === now) seen.value = now;
    }, SEEN_MS);
  }
  for (const css of ['input[name="quantity"]', '.buy .wide']) {
    const label = fresh.querySelector(css)?.getAttribute('aria-label');
    const labelled = card.querySelector(css);
    if (label && labelled?.hasAttribute('aria-label')) labelled.setAttribute('aria-label', label);
  }
  for (const css of ['.art', '.what']) card.querySelector(css).replaceWith(fresh.querySelector(css));
}

function replace(card, fresh) {
  // During an upgrade a gateway of the version before may have rendered it for somebody who signed in in another tab: this page
  // is still of the account that it was shown to.
  const account = fresh.querySelector('input[name="account"]');
  if (account) account.value = document.body.dataset.account;
  const notice = card.querySelector('.notice');
  if (notice) fresh.querySelector('.what').after(notice);
  const hadFocus = card.contains(document.activeElement);
  prepare(fresh);
  card.replaceWith(fresh);
  if (hadFocus) {
    fresh.tabIndex = -1;
    fresh.focus();
  }
}

// Shows a card as the server renders it now. A card that sells out, or is there again, is another card.
function renew(card, fresh) {
  const left = leftOf(fresh);
  if ((leftOf(card) > 0) !== (left > 0)) return replace(card, fresh);
  if (nameOf(card) !== nameOf(fresh) || priceOf(card) !== priceOf(fresh)) rename(card, fresh);
  show(card, left);
}

// Events only say that something changed, since one may be old: the server says what. Not all browsers ask at once.
const asked = new Set();
function ask(row) {
  if (asked.has(row)) return;
  asked.add(row);
  setTimeout(async () => {
    asked.delete(row);
    const fresh = await part(`/shop/gifticons/${row}?page=${words.page}`);
    const card = list.querySelector(`[data-row="${Number(row)}"]`);
    if (fresh && card) renew(card, fresh);
  }, Math.random() * ASKED_MS);
}

function changed({ gifticonId, name, price, availableQuantity: left }) {
  const card = cardOf(gifticonId);
  if (!card || left === undefined) return;
  const before = leftOf(card);
  const isOther = (name !== undefined && name !== nameOf(card)) || (price !== undefined && String(price) !== priceOf(card));
  if (isOther || (before > 0) !== (left > 0)) ask(card.dataset.row);
  if (before > 0 && left > 0 && before !== left) show(card, left);
}

// Some changes are not told.
let all;
function askForAll() {
  all ??= setTimeout(async () => {
    all = undefined;
    const fresh = await parts(`/shop?page=${words.page}`, '.card');
    for (const one of fresh) {
      const card = cardOf(one.dataset.gifticon);
      if (card) renew(card, one);
    }
  }, Math.random() * ASKED_MS);
}

// The cart that was just made.
const bought = document.querySelector('[data-bought]');
const ENDS = { PaymentApproved: 'paid', PaymentDeclined: 'declined', CartRemoved: 'gone' };
const chip = bought?.querySelector('.chip');
// Each way to end is an attribute of the chip, with its words.
function ends(how) {
  if (chip.classList.contains('over') || chip.textContent === chip.dataset[how]) return;
  bought.classList.toggle('good', how === 'paid');
  bought.classList.toggle('over', how !== 'paid');
  chip.classList.remove('wait', 'good', 'over');
  chip.classList.add(how === 'paid' ? 'good' : 'over');
  chip.textContent = chip.dataset[how];
}
async function askPaid(tries) { // of many events only some are told
  if (!chip.classList.contains('wait') || tries === 0) return;
  try {
    const answer = await fetch(own(at('/carts/' + bought.dataset.bought)), { headers: { accept: 'application/json' } });
    if (answer.ok && (await answer.json()).status === 'PaymentApproved') return ends('paid');
    if (answer.status === 404) return ends('gone');
    if (answer.status === OVER) return;
  } catch { /* asked again */ }
  setTimeout(() => askPaid(tries - 1), 2000);
}
if (bought) setTimeout(() => askPaid(20), 1000);

follow(at('/live/stream'), ['event', 'reset'], (name, data) => {
  if (name === 'reset' || name === 'missed') return askForAll();
  if (data.type === 'QuantityModified' || data.type === 'GifticonRegistered') {
    changed(data);
  } else if (bought && String(data.cartId) === bought.dataset.bought && ENDS[data.type]) {
    ends(ENDS[data.type]);
  }
}, showState);
