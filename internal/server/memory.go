package server

import (
	"context"
	"log/slog"
	"time"

	"comfylatch/internal/account"
)

// Memory frees ComfyUI's memory when the last person leaves. ComfyUI-Login
// did so whenever anybody did, and took everybody's models and cache with it.
type Memory struct {
	// Sockets counts the open sockets of others than this principal's window.
	Sockets interface {
		Others(principalID, clientID string) int
	}
	ComfyUI interface {
		QueueLength(context.Context) (int, error)
		Free(context.Context) error
	}
	Log *slog.Logger
}

// settleTime is how long to wait for the sockets of windows that close
// together: each tells of it before the others' sockets have ended.
const settleTime = time.Second

// Leave is called when a window was closed, or left alone for half an hour.
// Memory is freed only when nobody else is here and nothing runs or waits.
func (m *Memory) Leave(ctx context.Context, who account.Principal, clientID string) {
	if m.Sockets.Others(who.ID(), clientID) > 0 {
		time.Sleep(settleTime)
		if m.Sockets.Others(who.ID(), clientID) > 0 {
			return
		}
	}
	// The window that asked may be gone before ComfyUI has answered.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	n, err := m.ComfyUI.QueueLength(ctx)
	if err == nil && n > 0 {
		return
	}
	if err == nil {
		err = m.ComfyUI.Free(ctx)
	}
	if err != nil {
		m.Log.Warn("ComfyUI's memory could not be freed", "err", err)
		return
	}
	m.Log.Info("the last one has left: ComfyUI's memory is freed")
}
