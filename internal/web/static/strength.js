const common = ('password passwort 123456 12345678 123456789 qwerty qwertz azerty abc123 letmein welcome admin login ' +
  'iloveyou monkey dragon master sunshine princess football shadow secret comfyui comfy stable diffusion').split(' ');

const said = [
  'Guessed at once.',
  'Weak: a program guesses it within the hour.',
  'Fair: enough against chance visitors.',
  'Good.',
  'Strong.',
];

/**
 * Says how hard a password is to guess: {score: 0…4, text}. It counts kinds of
 * characters and knows a few common words, no more, and errs to the low side.
 */
export function strength(password, name = '') {
  let rest = password.toLowerCase();
  let bits = 0;
  for (const word of [...common, name.toLowerCase()].filter((w) => w.length > 2)) {
    if (rest.includes(word)) {
      rest = rest.split(word).join('');
      bits += 6;
    }
  }
  // Each repeated or following character adds as good as nothing.
  let length = 0;
  for (let i = 0; i < rest.length; i++) {
    const step = i ? rest.charCodeAt(i) - rest.charCodeAt(i - 1) : 99;
    length += Math.abs(step) <= 1 ? 0.2 : 1;
  }
  const kinds = [[/[a-z]/, 26], [/[A-Z]/, 26], [/[0-9]/, 10], [/[^a-zA-Z0-9]/, 30]];
  const letters = kinds.reduce((n, [kind, size]) => n + (kind.test(password) ? size : 0), 0);
  // Words are far from random letters: half of the bits at most.
  bits += length * Math.log2(Math.max(2, letters)) * (/^[a-z\s]+$/i.test(rest) ? 0.55 : 0.8);
  const score = [18, 32, 48, 66].filter((limit) => bits >= limit).length;
  return { score, text: said[score] };
}
