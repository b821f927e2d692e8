package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// Go collects garbage when the heap has doubled. The gate's is so small that
	// it would do nothing else under load: what is counted as in use is at least
	// this. It is address space only: no page of it is ever touched.
	leastHeap = 20 << 20

	quiet = 512 << 10 // bytes allocated in a second by a gate that has nothing to do
	worth = 4 << 20   // bytes of garbage that are worth a collection when it is quiet
)

// tendHeap lets garbage lie while there is work, and gives the memory back to
// the system as soon as it is quiet, which Go by itself would do after minutes.
// It ends with ctx.
func tendHeap(ctx context.Context) error {
	ballast := make([]byte, leastHeap)
	defer runtime.KeepAlive(ballast)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for last, given := allocated(), allocated(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := allocated()
		if now-last < quiet && now-given > worth {
			debug.FreeOSMemory()
			given = now
		}
		last = now
	}
}

// allocated is how many bytes were ever allocated.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
