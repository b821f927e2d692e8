package session

import "comfylatch/internal/account"

const PerShard = perShard

// Remembered is how many sessions are in memory.
func Remembered(m *Manager) (n int) {
	m.cache.each(func(*entry) { n++ })
	return n
}

// Remember puts a session into memory.
func Remember(m *Manager, s account.Session) {
	key, ok := parseHash(s.Hash)
	if !ok {
		panic("not a hash: " + s.Hash)
	}
	m.cache.putIf(key, newEntry(s), func() bool { return true })
}
