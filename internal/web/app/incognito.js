// The node "Upload Image Incognito" in ComfyUI's page: choose, drop or paste a
// picture, see it, and hand it over when the workflow runs. ComfyUI offers the
// node only where the companion node is installed.
import { choose, Picture } from './picture.js';
import { notice } from './session.js';

const kind = 'COMFYLATCH_PICTURE'; // the type of the node's input
const property = 'comfylatch picture'; // in the workflow: which of this page's pictures; no key, no handle, no name
const takers = new WeakMap(); // node → function that takes a file

/** Registers the widget. */
export function offerIncognito(app) {
  app.registerExtension({
    name: 'comfylatch.incognito',
    getCustomWidgets: () => ({ [kind]: (node, name) => ({ widget: addWidget(app, node, name) }) }),
  });
  // Before ComfyUI's own, which would upload the picture as a file.
  document.addEventListener('paste', (e) => {
    if (e.target?.closest?.('input, textarea, [contenteditable]')) return;
    const node = Object.values(app.canvas?.selected_nodes ?? {}).find((n) => takers.has(n));
    const file = imageOf(e.clipboardData);
    if (!node || !file) return;
    e.preventDefault();
    e.stopImmediatePropagation();
    takers.get(node)(file);
  }, true);
  const link = document.createElement('link');
  link.rel = 'stylesheet';
  link.href = new URL('./incognito.css', import.meta.url);
  document.head.append(link);
}

const imageOf = (data) => [...(data?.files ?? [])].find((f) => f.type.startsWith('image/'));

function addWidget(app, node, name) {
  const view = makeView();
  let picture; // what is shown

  const show = () => {
    const found = Picture.find(node.properties?.[property]);
    if (found !== picture) {
      picture?.removeEventListener('change', update);
      picture?.removeEventListener('refused', refused);
      picture = found;
      picture?.addEventListener('change', update);
      picture?.addEventListener('refused', refused);
    }
    update();
  };
  const update = () => {
    const lost = !picture && node.properties?.[property];
    view.image.hidden = !picture || picture.trouble === choose;
    if (!view.image.hidden && view.image.src !== picture.url) view.image.src = picture.url;
    view.progress.hidden = !picture || picture.trouble || picture.progress >= 1;
    view.progress.value = picture?.progress ?? 0;
    view.status.textContent = picture ? say(picture) : lost ? choose : 'Choose, drop or paste a picture.';
    app.graph?.setDirtyCanvas?.(true);
  };
  const refused = (e) => {
    view.status.textContent = e.detail;
    notice(e.detail, 'error');
  };
  const take = (file) => {
    if (!file) return false;
    node.properties ??= {};
    node.properties[property] = new Picture(file).id;
    show();
    return true;
  };
  takers.set(node, take);
  listen(view, node, take);

  const configured = node.onConfigure;
  node.onConfigure = function () {
    const result = configured?.apply(this, arguments);
    show();
    return result;
  };
  show();

  const widget = node.addDOMWidget(name, 'comfylatch_picture', view.root, { getValue: () => '', setValue: () => {}, getMinHeight: () => 220, hideOnZoom: false });
  widget.serialize = false; // not in the workflow; the prompt gets serializeValue
  widget.serializeValue = async () => (picture ? picture.unlock() : '');
  requestAnimationFrame(() => {
    if (!node.properties?.[property]) node.setSize?.([Math.max(node.size[0], 300), Math.max(node.size[1], 340)]);
  });
  return widget;
}

function say(picture) {
  if (picture.trouble) return picture.trouble;
  if (picture.progress < 1) return `Encrypting and uploading: ${Math.floor(picture.progress * 100)} %`;
  return 'Encrypted. It is unlocked only for a run.';
}

/** The ways in which a picture comes. */
function listen(view, node, take) {
  view.input.addEventListener('change', () => {
    take(view.input.files[0]);
    view.input.value = '';
  });
  view.button.addEventListener('click', () => view.input.click());
  const carries = (e) => [...(e.dataTransfer?.items ?? [])].some((i) => i.kind === 'file');
  for (const over of ['dragenter', 'dragover']) {
    view.root.addEventListener(over, (e) => {
      if (!carries(e)) return;
      e.preventDefault();
      e.stopPropagation();
    });
  }
  view.root.addEventListener('drop', (e) => {
    if (!take(imageOf(e.dataTransfer))) return;
    e.preventDefault();
    e.stopPropagation();
  });
  node.onDragOver = carries; // the rest of the node, which ComfyUI draws
  node.onDragDrop = async (e) => take(imageOf(e.dataTransfer));
}

function makeView() {
  const make = (tag, more) => Object.assign(document.createElement(tag), more);
  const view = {
    root: make('div', { className: 'comfylatch-picture' }),
    button: make('button', { type: 'button', textContent: 'Choose a picture' }),
    input: make('input', { type: 'file', accept: 'image/*', hidden: true }),
    image: make('img', { alt: 'The private picture', hidden: true, draggable: false }),
    progress: make('progress', { max: 1, hidden: true }),
    status: make('p', { role: 'status' }),
  };
  view.root.append(view.button, view.input, view.image, view.progress, view.status);
  if (!window.isSecureContext) {
    view.root.append(make('p', {
      className: 'comfylatch-plain',
      textContent: 'This page came over plain HTTP: whoever is on the way can read everything, the picture’s key too. Use HTTPS.',
    }));
  }
  return view;
}
