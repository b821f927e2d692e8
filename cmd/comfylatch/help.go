package main

import "fmt"

const help = `comfylatch is the door in front of ComfyUI: a login, API keys and guests.

  comfylatch [flags]                      stand in front of a running ComfyUI
  comfylatch [flags] -- COMMAND [ARG..]   start ComfyUI and stand in front of it
  comfylatch demo [flags]                 try it, without ComfyUI
  comfylatch token create NAME            make a token for a program
  comfylatch token list                   list the tokens
  comfylatch token revoke ID              end a token
  comfylatch node install --comfyui DIR   add Upload Image Incognito to ComfyUI
                                          (--only-gate: it answers none but us)
  comfylatch node remove --comfyui DIR    take it out again
  comfylatch user add NAME                make an account; prints its invitation
  comfylatch user list                    list the accounts
  comfylatch user passwd|disable|enable|remove|role|invite NAME
  comfylatch import --comfyui DIR         take over ComfyUI-Login's password
  comfylatch uninstall --comfyui DIR      leave no trace in ComfyUI's folder
  comfylatch doctor                       say what is wrong and how to mend it
  comfylatch version

  --listen ADDR          where to listen (127.0.0.1:8189; around a command
                         127.0.0.1:8188); may be repeated; unix:PATH; systemd
  --upstream URL         the ComfyUI to protect (http://127.0.0.1:8188)
  --comfyui DIR          ComfyUI's folder; makes DIR/login the state folder
  --state DIR            the state folder
  --api-key-file FILE    a file with an API key that has the owner's rights
  --api-key KEY          the same on the command line; or $COMFYUI_API_KEY
  --auth on|off          off lets everybody on this machine in (on)
  --guest                let guests in
  --free-memory on|off   free ComfyUI's memory when the last one leaves (on)
  --companion-node       around a command: add Upload Image Incognito to it
  --trusted-proxy CIDR   whose X-Forwarded-* headers count (nobody's)
  --front-end-root DIR   demo: the folder of ComfyUI's real frontend
  --config FILE          comfylatch.toml (in the state folder)
  --log text|json        how to log, to standard error (text)
  --debug                log every request, not only refused ones
`

func printHelp(env Env) error {
	_, err := fmt.Fprint(env.Stdout, help)
	return err
}
