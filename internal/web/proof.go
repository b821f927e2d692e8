package web

import "net/netip"

// LoginStatus and LoginClient stand in for room login's types until it lands.
type LoginStatus struct {
	SetUp                      bool
	OwnerName                  string
	NameNeeded, Guests, HasKey bool
}

// LoginClient is who is asking, as far as the network tells.
type LoginClient struct {
	Address netip.Addr
	Agent   string
	Local   bool
}
