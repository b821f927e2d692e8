package upstream

import "syscall"

// dieWithUs has the kernel end the child when we are gone, even by kill -9:
// a ComfyUI without its gate would be open to everybody on the machine, and
// nobody could see that it still holds the GPU.
func dieWithUs(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }
