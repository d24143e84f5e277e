// My page, live: a cart that changes is rendered by the server once more, and takes the place of the old one.
import { at, follow, part, showState } from "./stream.js";

const list = document.getElementById('carts');
const announce = document.getElementById('announce');
const isFirst = 'first' in list.dataset;
const busy = new Map(); // views that are being asked for, and whether they changed meanwhile

const rowOf = (id) => list.querySelector(`[data-view="${Number(id)}"]`);
const oldest = () => Math.min(...[...list.children].map((row) => Number(row.dataset.view)));

function place(id, fresh) {
  const old = rowOf(id);
  if (!old) {
    const after = [...list.children].find((row) => Number(row.dataset.view) < id);
    list.insertBefore(fresh, after ?? null);
    document.getElementById('empty')?.remove();
  } else {
    const hadFocus = old.contains(document.activeElement);
    const isOpen = old.querySelector('details')?.open;
    const notice = old.querySelector('.notice');
    const details = fresh.querySelector('details');
    if (details) details.open = isOpen;
    if (notice && !fresh.querySelector('.notice')) fresh.append(notice);
    old.replaceWith(fresh);
    if (hadFocus) {
      const target = fresh.querySelector('summary') ?? fresh;
      if (target === fresh) fresh.tabIndex = -1;
      target.focus();
    }
  }
  if (!old || old.dataset.announced !== fresh.dataset.announced) {
    announce.textContent = fresh.dataset.announced;
  }
}

async function renew(id) {
  if (busy.has(id)) {
    busy.set(id, true);
    return;
  }
  do {
    busy.set(id, false);
    const fresh = await part(`/me/carts/${id}?page=${list.dataset.page}`);
    if (fresh) place(id, fresh);
  } while (busy.get(id));
  busy.delete(id);
}

async function renewAll() {
  for (const row of [...list.children]) await renew(Number(row.dataset.view));
}

follow(at('/mypages/stream'), ['mypage', 'reset'], (name, view) => {
  if (name === 'reset' || (name === 'missed' && !isFirst)) return renewAll();
  if (name === 'missed') return; // a stream begins with the views of the first page
  const row = rowOf(view.id);
  if (row ? row.dataset.status !== view.status : isFirst && !(list.children.length && view.id < oldest())) renew(Number(view.id));
}, showState);
