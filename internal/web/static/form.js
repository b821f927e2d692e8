// What our forms have in common: show/hide, the caps-lock hint, the countdown
// after too many tries. Without JavaScript the forms work all the same.

export const $ = (id) => document.getElementById(id);

/** Shows a reason of refusal where screen readers will say it; "" hides it. */
export function complain(text) {
  const alert = $('alert');
  alert.textContent = text;
  alert.hidden = !text;
}

/** Wires every "Show" button to its field. */
export function showHide() {
  for (const button of document.querySelectorAll('[data-shows]')) {
    const field = $(button.dataset.shows);
    const name = field.labels[0].textContent.toLowerCase();
    const set = (shown) => {
      field.type = shown ? 'text' : 'password';
      button.textContent = shown ? 'Hide' : 'Show';
      button.setAttribute('aria-pressed', String(shown));
      button.setAttribute('aria-label', `Show ${name}`);
    };
    set(false);
    button.hidden = false;
    button.addEventListener('click', () => {
      set(field.type === 'password');
      field.focus();
    });
    // Password managers keep what is in a password field only.
    field.form.addEventListener('submit', () => set(false));
  }
}

/** Tells when Caps Lock is on while the field is typed in. */
export function capsLock(field, hint) {
  const look = (e) => {
    if (e.getModifierState) hint.hidden = !e.getModifierState('CapsLock');
  };
  field.addEventListener('keydown', look);
  field.addEventListener('keyup', look);
  field.addEventListener('blur', () => { hint.hidden = true; });
}

/** Keeps the submit button off for so many seconds and counts them down. */
export function countDown(seconds) {
  const button = $('submit');
  if (!button || !(seconds > 0)) return;
  const label = button.textContent;
  const end = Date.now() + seconds * 1000;
  button.disabled = true;
  const tick = () => {
    const left = Math.ceil((end - Date.now()) / 1000);
    if (left > 0) {
      button.textContent = `${label} in ${left} s`;
      setTimeout(tick, 250);
      return;
    }
    button.textContent = label;
    button.disabled = false;
    complain('');
  };
  tick();
}

/** Forgets what ComfyUI's page and the API-key page left in this browser. */
export function forget() {
  for (const name of ['localStorage', 'sessionStorage']) {
    try { window[name].clear(); } catch { /* storage is switched off */ }
  }
}
