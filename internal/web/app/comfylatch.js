// comfylatch in ComfyUI's own page: who one is, log out, and what guests see.
// ComfyUI's frontend loads this through GET /extensions. It offers comfort and
// enforces nothing: every rule stands in the gate. Works from frontend 1.27 on.
import { hideFromGuests } from './guest.js';
import { offerIncognito } from './incognito.js';
import { leave, watchLeaving } from './leave.js';
import { placeBadge, placeButton } from './place.js';
import { go, loadInject, logOut, notice, ownWindow, watchSession, whoAmI } from './session.js';

const app = window.comfyAPI.app.app;
const api = window.comfyAPI.api.api;
const freeMemory = 'comfylatch.FreeMemory'; // a setting of ComfyUI's frontend

const me = await whoAmI();
if (me) await register(me);

async function register(me) {
  ownWindow(me);
  await loadInject();
  watchSession(api);
  offerIncognito(app);
  refreshNodes();

  const label = me.guest ? 'You are a guest' : `${me.name} (${me.role})`;
  const commands = [{ id: 'comfylatch.Who', label, icon: 'pi pi-user', function: () => notice(`You are here as ${me.guest ? 'a guest' : label}.`) }];
  const extension = { name: 'comfylatch.account', commands };
  if (me.guest) {
    commands.push({ id: 'comfylatch.LogIn', label: 'Log in', icon: 'pi pi-sign-in', function: () => go(me.login) });
    extension.topbarBadges = [{ text: 'GUEST', variant: 'warning', icon: 'pi pi-user', tooltip: 'Guests generate and look around; nothing else is kept.' }];
  }
  if (me.account) {
    commands.push({ id: 'comfylatch.Account', label: 'Your account', icon: 'pi pi-id-card', function: () => window.open(me.account, '_blank') });
  }
  if (me.admin) {
    commands.push({ id: 'comfylatch.Admin', label: 'Administration', icon: 'pi pi-users', function: () => window.open(me.admin, '_blank') });
  }
  const out = async () => {
    leave();
    if (!(await logOut(me))) notice('Logging out did not work. Please try again.', 'error');
  };
  if (me.logout) {
    commands.push({ id: 'comfylatch.LogOut', label: 'Log out', icon: 'pi pi-sign-out', function: out });
    extension.actionBarButtons = [{ icon: 'pi pi-sign-out', label: 'Log out', tooltip: 'Log out of ComfyUI', onClick: out, class: 'comfylatch-logout' }];
  }
  extension.menuCommands = [{ path: ['Account'], commands: commands.map((c) => c.id) }];
  if (me.freeMemory && !me.guest) {
    extension.settings = [{
      id: freeMemory,
      name: 'Free memory when I leave',
      tooltip: 'When your last window closes, or after 30 minutes without a touch, ComfyUI frees its memory, if nobody else works or waits.',
      category: ['comfylatch', 'Account', 'Free memory'],
      type: 'boolean',
      defaultValue: true,
    }];
  }
  extension.setup = () => {
    if (me.freeMemory) watchLeaving(api, () => me.guest || app.extensionManager?.setting?.get(freeMemory) !== false);
    if (me.guest) hideFromGuests(app);
    // Frontends that do not know the two keys above get the same by hand.
    if (me.logout) placeButton(app, out);
    if (me.guest) placeBadge();
  };
  if (me.guest) hideFromGuests.early(api);
  app.registerExtension(extension);
}

// refreshNodes makes "R" (refresh node definitions) see what has changed on
// the disk: the gate keeps the definitions, so it is told to ask anew.
function refreshNodes() {
  const refresh = app.refreshComboInNodes;
  if (typeof refresh !== 'function') return;
  app.refreshComboInNodes = async function (...args) {
    await fetch('/_latch/refresh', { method: 'POST' }).catch(() => {});
    return refresh.apply(this, args);
  };
}
