// Comfort for the account and administration pages; all forms work without it.

for (const button of document.querySelectorAll('[data-copies]')) {
  const field = document.getElementById(button.dataset.copies);
  button.hidden = false;
  button.addEventListener('click', async () => {
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
    } catch {
      document.execCommand('copy'); // plain HTTP has no clipboard
    }
    button.textContent = 'Copied';
  });
}

// A second click on a button must not do it twice.
for (const form of document.forms) {
  form.addEventListener('submit', (e) => {
    if (form.method !== 'post') return;
    if ('sent' in form.dataset) e.preventDefault();
    form.dataset.sent = '';
  });
}
addEventListener('pageshow', (e) => {
  if (e.persisted) location.reload(); // what a list says may be old
});
