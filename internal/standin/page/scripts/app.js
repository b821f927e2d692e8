// ComfyUI's front end offers these paths to extensions.
export const app = window.comfyAPI.app.app
