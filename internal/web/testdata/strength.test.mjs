import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readFileSync } from 'node:fs';

const source = readFileSync(new URL('../static/strength.js', import.meta.url), 'utf8');
const { strength } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

const order = ['', 'aaaaaaaaaaaaaaaa', '12345678', 'password1', 'comfyui', 'tr0ub4', 'kaltes Wetter', 'correct horse battery staple', 'Xk9#vQ2$mZ7!pL4&'];

test('longer and odder is stronger', () => {
  const scores = order.map((p) => strength(p, 'ada').score);
  assert.deepEqual(scores, [...scores].sort((a, b) => a - b));
  assert.equal(scores[0], 0);
  assert.equal(scores.at(-1), 4);
});

test('one\'s own name counts for nothing much', () => {
  assert.equal(strength('Philippa', 'philippa').score, 0);
});
