package network

import (
	"fmt"
	"net"
	"slices"
	"sync"
)

// Mailbox keeps what comes to a UDP port of a host, whichever of its addresses
// it is for.
type Mailbox struct {
	conn *net.UDPConn
	over sync.WaitGroup

	mu   sync.Mutex
	mail []string
}

// OpenMailbox begins to keep what comes, before it returns.
func (h *Host) OpenMailbox(port int) (*Mailbox, error) {
	m := &Mailbox{}
	err := h.Do(func() (err error) {
		m.conn, err = net.ListenUDP("udp4", &net.UDPAddr{Port: port})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open a mailbox on %s: %v", h.Name, err)
	}
	m.over.Go(func() {
		buffer := make([]byte, 2048)
		for {
			n, _, err := m.conn.ReadFromUDP(buffer)
			if err != nil {
				return // closed
			}
			m.mu.Lock()
			m.mail = append(m.mail, string(buffer[:n]))
			m.mu.Unlock()
		}
	})
	return m, nil
}

// Mail is all that has come.
func (m *Mailbox) Mail() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.mail)
}

// Close ends it.
func (m *Mailbox) Close() error {
	err := m.conn.Close()
	m.over.Wait()
	return err
}
