// Places for what older frontends have no place for. Each looks first whether
// the frontend has shown the thing itself.

const later = (ms) => new Promise((done) => setTimeout(done, ms));

/** The Log-out button: in the settings group (1.27), the old menu, or a corner. */
export async function placeButton(app, out) {
  await later(1500);
  if (document.querySelector('.comfylatch-logout')) return;
  const group = app.menu?.settingsGroup;
  const Button = window.comfyAPI?.button?.ComfyButton;
  if (group && Button) {
    group.append(new Button({ icon: 'logout', content: 'Log out', tooltip: 'Log out of ComfyUI', action: out, classList: 'comfyui-button comfylatch-logout' }));
    await later(500);
    if (document.querySelector('.comfylatch-logout')?.offsetParent) return;
  }
  const old = document.querySelector('.comfy-menu');
  const button = document.createElement('button');
  button.className = 'comfylatch-logout';
  button.textContent = 'Log out';
  button.addEventListener('click', out);
  if (old?.offsetParent) {
    old.append(button);
    return;
  }
  app.extensionManager?.registerSidebarTab?.({
    id: 'comfylatch', icon: 'pi pi-sign-out', title: 'Log out', tooltip: 'Log out', type: 'custom',
    render: (element) => element.replaceChildren(button),
  });
}

/** The GUEST badge: a small sign that is in nobody's way. */
export async function placeBadge() {
  await later(1500);
  const shown = [...document.querySelectorAll('body *')].some((e) => e.childElementCount === 0 && e.textContent.trim() === 'GUEST' && e.offsetParent);
  if (shown) return;
  const badge = document.createElement('div');
  badge.className = 'comfylatch-guest';
  badge.textContent = 'GUEST';
  badge.title = 'You are a guest: generate and look around; nothing else is kept.';
  badge.style.cssText = 'position:fixed;top:4px;left:50%;transform:translateX(-50%);z-index:1000;padding:1px 10px;border-radius:999px;' +
    'background:#f2ff59;color:#202020;font:600 11px/1.6 sans-serif;letter-spacing:.08em;pointer-events:none';
  document.body.append(badge);
}
