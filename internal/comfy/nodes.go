package comfy

import (
	"slices"
	"strings"
)

// NodeAccess is the least role that may run a node, by where ComfyUI found it
// (python_module of /object_info: "nodes", "comfy_extras.x",
// "comfy_api_nodes.x" or "custom_nodes.x").
//
// Guests run ComfyUI's own nodes, but not those that train, read pickles,
// write models, or cost the owner's money; users run everything that is not
// for administrators. A class that ComfyUI does not have is for users too:
// ComfyUI refuses it in its own words, so that is left to it.
func NodeAccess(class, module string, known bool) Access {
	switch {
	case adminNodes[class]:
		return Admins
	case !known || userNodes[class]:
		return Users
	case module == "nodes" || module == "custom_nodes.websocket_image_save": // the one that ComfyUI ships as a custom node
		return Guests
	case module == "custom_nodes.comfylatch_incognito": // our own
		return Guests
	case strings.HasPrefix(module, "comfy_extras.") && !slices.Contains(userModules, module):
		return Guests
	}
	return Users
}

// adminNodes read what may hold code: LoadTrainingDataset unpickles its shards
// (CVE-2026-68771; weights_only since Comfy-Org/ComfyUI pull request 14543).
var adminNodes = map[string]bool{"LoadTrainingDataset": true, "SaveTrainingDataset": true}

// userModules are ComfyUI's own, but train and read or write whole folders.
var userModules = []string{"comfy_extras.nodes_train", "comfy_extras.nodes_dataset"}

// userNodes write models, of gigabytes, or read a checkpoint by its own
// configuration file.
var userNodes = map[string]bool{
	"CheckpointSave": true, "CLIPSave": true, "VAESave": true, "ModelSave": true, "ImageOnlyCheckpointSave": true, "LoraSave": true,
	"SaveLoRA": true, "SaveLoRANode": true, "CheckpointLoader": true, "DiffusersLoader": true, "HypernetworkLoader": true,
}
