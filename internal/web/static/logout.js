import { $, forget } from './form.js';

$('logout').addEventListener('submit', forget);
