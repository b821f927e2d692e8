// For guests: what they cannot use is not in the way. The gate refuses it in
// any case; here it is hidden, or says kindly why it does nothing.
import { notice } from './session.js';

const settings = 'Settings are not open to guests. What you change here is forgotten when you leave.';
const saving = 'Guests cannot save on this server. “Export” keeps the workflow on your own machine.';
const terminal = 'The server’s terminal and log are not open to guests.';
const manager = 'Installing and managing is not open to guests.';

/** The frontend's commands that answer with a notice instead. */
const closed = {
  'Comfy.ShowSettingsDialog': settings,
  'Comfy.SaveWorkflow': saving,
  'Comfy.SaveWorkflowAs': saving,
  'Comfy.RenameWorkflow': saving,
  'Comfy.PublishSubgraph': saving,
  'Comfy.BrowseModelAssets': manager,
  'Comfy.OpenManagerDialog': manager,
  'Comfy.Manager.CustomNodesManager.ShowCustomNodesMenu': manager,
  'Comfy.Manager.CustomNodesManager.ShowLegacyCustomNodesMenu': manager,
  'Comfy.Manager.CustomNodesManager.ToggleVisibility': manager,
  'Comfy.Manager.Menu.ToggleVisibility': manager,
  'Comfy.Manager.ShowLegacyManagerMenu': manager,
  'Comfy.Manager.ShowMissingPacks': manager,
  'Comfy.Manager.ShowUpdateAvailablePacks': manager,
  'Comfy.Manager.ToggleManagerProgressDialog': manager,
  'Comfy.Memory.UnloadModels': manager,
  'Comfy.Memory.UnloadModelsAndExecutionCache': manager,
  'Comfy.ToggleAssetAPI': settings,
  'Comfy.User.OpenSignInDialog': settings,
  'Workspace.ToggleBottomPanel': terminal,
  'Workspace.ToggleBottomPanelTab.command-terminal': terminal,
  'Workspace.ToggleBottomPanelTab.logs-terminal': terminal,
};

const tabs = ['model-library', 'workflows'];

/** Hides, once the frontend has set itself up. */
export function hideFromGuests(app) {
  for (const id of tabs) {
    try { app.extensionManager.unregisterSidebarTab(id); } catch { /* it has no such tab */ }
  }
  close(app);
  setTimeout(() => close(app), 3000); // what other extensions bring later
  const link = document.createElement('link');
  link.rel = 'stylesheet';
  link.href = new URL('./guest.css', import.meta.url);
  document.head.append(link);
}

// The frontend's buttons hold on to its command objects, so these are changed
// rather than registered anew.
function close(app) {
  for (const command of app.extensionManager?.command?.commands ?? []) {
    const why = closed[command.id];
    if (why) command.function = () => notice(why);
  }
}

/** Keeps settings in this window: asking the server would only be refused. */
hideFromGuests.early = (api) => {
  const kept = async () => new Response('null', { status: 200, headers: { 'Content-Type': 'application/json' } });
  api.storeSetting = kept;
  api.storeSettings = kept;
};
