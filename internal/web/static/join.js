import { $, capsLock, countDown, showHide } from './form.js';
import { strength } from './strength.js';

const password = $('password');
countDown(Number(document.body.dataset.wait));
if (password) {
  showHide();
  capsLock(password, $('caps'));
  const meter = $('strength');
  password.addEventListener('input', () => {
    const { score, text } = strength(password.value, $('username').value);
    meter.hidden = !password.value;
    meter.querySelector('meter').value = score;
    meter.querySelector('p').textContent = text;
  });
}
