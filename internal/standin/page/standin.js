// The stand-in's own page. It speaks only ComfyUI's API, and loads extensions the way ComfyUI's
// front end does: GET /api/extensions, then import() each of them.

const $ = id => document.getElementById(id)
const base = location.pathname.split('/').slice(0, -1).join('/')
const url = path => base + '/api' + path
let clientId = window.name || crypto.randomUUID?.() || String(Math.random()).slice(2)
let current = '' // the prompt that this page waits for
let uploaded = 'example.png' // the picture to start from; '' for a plain colour

// ---- talking to the server

async function call(path, init) {
  const r = await fetch(url(path), init)
  if (r.status === 401) { // the session is over: the page itself leads to the login
    location.reload()
    throw new Error('You are logged out.')
  }
  const body = await r.json().catch(() => null)
  if (!r.ok) {
    const reason = body?.error?.message ?? body?.message ?? body?.error ?? r.statusText
    throw new Error(typeof reason === 'string' && reason ? reason : `The server answered ${r.status}.`)
  }
  return body
}

const post = (path, data) => call(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(data) })
const view = f => url('/view?' + new URLSearchParams({ filename: f.filename, subfolder: f.subfolder ?? '', type: f.type ?? 'output' }))

function graph() {
  const g = {
    1: uploaded
      ? { class_type: 'LoadImage', inputs: { image: uploaded } }
      : { class_type: 'EmptyImage', inputs: { width: 768, height: 512, batch_size: 1, color: parseInt($('color').value.slice(1), 16) } },
    3: { class_type: 'LatchSlowImage', inputs: { image: ['1', 0], steps: Number($('steps').value) || 1, step_ms: 80 } },
    4: { class_type: 'SaveImage', inputs: { images: ['3', 0], filename_prefix: 'standin' } },
  }
  if ($('invert').checked) {
    g[2] = { class_type: 'ImageInvert', inputs: { image: ['1', 0] } }
    g[3].inputs.image = ['2', 0]
  }
  return g
}

async function queuePrompt() {
  say('Queueing…')
  const prompt = graph()
  const answer = await post('/prompt', { client_id: clientId, prompt, extra_data: { extra_pnginfo: { workflow: { id: 'standin', nodes: [] } } } })
  current = answer.prompt_id
  $('stop').disabled = false
  say('Waiting…')
}

async function upload(file) {
  const form = new FormData()
  form.append('image', file)
  const f = await call('/upload/image', { method: 'POST', body: form })
  uploaded = (f.subfolder ? f.subfolder + '/' : '') + f.name
  source(uploaded)
}

function source(name) {
  $('source').replaceChildren(name, document.createElement('br'), 'Drop another picture here or choose one.')
}

// ---- what the server tells

function connect() {
  const ws = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}${base}/ws?clientId=${encodeURIComponent(clientId)}`)
  ws.binaryType = 'arraybuffer'
  ws.onopen = () => ws.send(JSON.stringify({ type: 'feature_flags', data: { supports_preview_metadata: true } }))
  ws.onmessage = e => typeof e.data === 'string' ? onEvent(JSON.parse(e.data)) : onBinary(e.data)
  ws.onclose = () => { $('queue').textContent = 'reconnecting'; setTimeout(connect, 1000) }
}

function onEvent({ type, data }) {
  api.dispatchEvent(new CustomEvent(type, { detail: data }))
  if (type === 'status') {
    if (data.sid) clientId = window.name = data.sid
    const n = data.status?.exec_info?.queue_remaining ?? 0
    $('queue').textContent = n ? `${n} in the queue` : 'idle'
    return
  }
  if (!data || data.prompt_id !== current) return
  if (type === 'progress') {
    $('progress').max = data.max
    $('progress').value = data.value
    say(`Step ${data.value} of ${data.max}`)
  } else if (type === 'executed') {
    for (const f of data.output?.images ?? []) show(f)
  } else if (type === 'execution_error') {
    say(data.exception_message, true)
  } else if (type === 'execution_interrupted') {
    say('Stopped.')
  } else if (type === 'execution_success') {
    $('progress').value = $('progress').max
    say('Done.')
  } else if (type === 'executing' && data.node === null) {
    $('stop').disabled = true
  }
}

// A preview: [1][format][picture], or [4][length][metadata][picture].
function onBinary(buffer) {
  const v = new DataView(buffer)
  const kind = v.getUint32(0)
  if (kind !== 1 && kind !== 4 || !current) return
  const start = kind === 1 ? 8 : 8 + v.getUint32(4)
  const old = $('result').src
  $('result').src = URL.createObjectURL(new Blob([buffer.slice(start)]))
  $('result').hidden = false
  if (old.startsWith('blob:')) URL.revokeObjectURL(old)
}

function show(f) {
  const src = view(f)
  $('result').src = src
  $('result').hidden = false
  $('result').alt = f.filename
  $('caption').textContent = (f.subfolder ? f.subfolder + '/' : '') + f.filename
  const thumb = new Image()
  thumb.src = src + '&preview=webp;60'
  thumb.alt = f.filename
  $('gallery').prepend(thumb)
}

function say(text, bad = false) {
  $('state').textContent = text
  $('state').classList.toggle('bad', bad)
}

const guarded = f => async (...args) => {
  try { await f(...args) } catch (e) { say(e.message, true) }
}

// ---- extensions

const commands = new Map()
const extensions = []

function button(label, onClick, title) {
  const b = document.createElement('button')
  b.type = 'button'
  b.textContent = label
  if (title) b.title = title
  b.onclick = guarded(async () => onClick?.())
  return b
}

function menu(name) {
  let d = [...$('actions').querySelectorAll('details')].find(x => x.dataset.menu === name)
  if (!d) {
    d = document.createElement('details')
    d.dataset.menu = name
    d.append(Object.assign(document.createElement('summary'), { textContent: name }), document.createElement('div'))
    $('actions').append(d)
  }
  return d.lastChild
}

function renderExtension(ext) {
  for (const c of ext.commands ?? []) commands.set(c.id, c)
  for (const b of ext.actionBarButtons ?? []) $('actions').append(button(b.label ?? b.tooltip ?? ext.name, b.onClick, b.tooltip))
  for (const m of ext.menuCommands ?? []) {
    for (const id of m.commands ?? []) {
      const c = commands.get(id)
      if (c) menu(m.path?.[0] ?? ext.name).append(button(typeof c.label === 'function' ? c.label() : c.label ?? id, c.function, c.tooltip))
    }
  }
  for (const b of ext.topbarBadges ?? []) {
    const s = document.createElement('span')
    s.className = 'pill ' + (b.variant ?? '')
    s.textContent = [b.label, b.text].filter(Boolean).join(' ')
    $('badges').append(s)
  }
}

const app = {
  graph: { _nodes: [], nodes: [] },
  extensionManager: {
    registerSidebarTab() {}, unregisterSidebarTab() {},
    toast: { add: m => say(m.detail ?? m.summary ?? '', m.severity === 'error') },
    setting: { get() {}, async set() {} },
    command: { execute: id => commands.get(id)?.function?.() },
  },
  registerExtension(ext) {
    if (extensions.some(e => e.name === ext.name)) throw new Error(`Extension named '${ext.name}' already registered.`)
    extensions.push(ext)
    renderExtension(ext)
  },
}
const api = Object.assign(new EventTarget(), {
  api_base: base,
  fetchApi: (path, init) => fetch(url(path), init),
  apiURL: url,
  fileURL: path => base + path,
  get clientId() { return clientId },
  queuePrompt: (number, { output, workflow }) => post('/prompt', { client_id: clientId, prompt: output, extra_data: { extra_pnginfo: { workflow } } }),
})
window.app = app
window.comfyAPI = { app: { app }, api: { api } }

async function loadExtensions() {
  const list = await call('/extensions')
  await Promise.all(list.map(path => import(base + path).catch(e => console.error('Error loading extension', path, e))))
  for (const hook of ['init', 'setup']) {
    for (const ext of extensions) {
      try { await ext[hook]?.(app) } catch (e) { console.error(`Error calling extension '${ext.name}' method '${hook}'`, e) }
    }
  }
}

// ---- the page

$('form').onsubmit = e => { e.preventDefault(); guarded(queuePrompt)() }
$('stop').onclick = guarded(() => fetch(url('/interrupt'), { method: 'POST', body: JSON.stringify({ prompt_id: current }) }))
$('file').onchange = () => { if ($('file').files[0]) guarded(upload)($('file').files[0]) }
$('color').oninput = () => { uploaded = ''; source('A plain colour') }
for (const [kind, over] of [['dragover', true], ['dragleave', false], ['drop', false]]) {
  $('drop').addEventListener(kind, e => {
    e.preventDefault()
    $('drop').classList.toggle('over', over)
    if (kind === 'drop' && e.dataTransfer.files[0]) guarded(upload)(e.dataTransfer.files[0])
  })
}
connect()
guarded(loadExtensions)()
