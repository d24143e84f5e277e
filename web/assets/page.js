// What each page needs: a form that is sent once, and a fresh page when the visitor comes back to it.

document.addEventListener('submit', (event) => {
  const form = event.target;
  if (!form.matches('[data-once]')) return;
  if (form.dataset.sent) { // a double click
    event.preventDefault();
    return;
  }
  form.dataset.sent = 'yes';
  const button = event.submitter;
  if (!button) return;
  button.setAttribute('aria-disabled', 'true'); // `disabled` would drop the focus
  if (button.dataset.busy) {
    button.textContent = button.dataset.busy;
    button.removeAttribute('aria-label');
  }
});

// A page out of the browser's memory has a form that was sent, with its old key.
addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });

document.querySelector('.summary')?.focus();
