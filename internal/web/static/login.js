import { $, capsLock, countDown, forget, showHide } from './form.js';
import { strength } from './strength.js';
import { prefetch } from './prefetch.js';

const password = $('password');
showHide();
capsLock(password, $('caps'));
countDown(Number(document.body.dataset.wait));
if ('forget' in document.body.dataset) forget();

const meter = $('strength');
if (meter) {
  password.addEventListener('input', () => {
    const { score, text } = strength(password.value, $('username').value);
    meter.hidden = !password.value;
    meter.querySelector('meter').value = score;
    meter.querySelector('p').textContent = text;
  });
}

// A password's session takes the place of an API key's token.
const stop = prefetch();
for (const form of document.forms) {
  form.addEventListener('submit', () => {
    stop();
    try {
      localStorage.removeItem('comfyui_api_key');
      sessionStorage.removeItem('comfyui_api_key');
    } catch { /* storage is switched off */ }
  });
}
