// ComfyUI's front end offers these paths to extensions.
export const api = window.comfyAPI.api.api
